"""The SMTP sink as a process of its own, as the suite's tests use it."""

import smtplib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sink import instruct, received


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def send(port: int, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as smtp:
        smtp.sendmail("id@updspace.test", [to], f"Message-ID: <1@test>\r\nSubject: To {to}\r\n\r\nHello\r\n")


def test_a_sink_in_a_process_keeps_mail_in_its_folder_and_obeys(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tests.sink", "--port", str(port), "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f":{port} keeps mail in" in process.stdout.readline()
        send(port, "ada@people.test")
        (mail,) = received(tmp_path)
        assert (mail.recipients, mail.message_id) == (["ada@people.test"], "<1@test>")
        instruct(tmp_path, recipients={"*": "550 5.1.1 No such mailbox"})
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            for _ in range(100):  # it looks into its folder many times a second
                send(port, "charles@people.test")
        instruct(tmp_path)
        process.terminate()
        assert process.wait(10) == 0
