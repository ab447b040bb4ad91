"""Data keys take turns in notification: mail that was queued before leaves afterwards, with what it had to say."""

from flask import Flask

from libs.service import parts_of
from tests.conftest import run_command
from tests.data_keys import rotating, rows_by_kid
from tests.notification.conftest import address, ask, deliver, run_task
from tests.sink import Sink


def test_queued_mail_leaves_under_every_step_of_a_rotation(mail_app: Flask, sink: Sink) -> None:
    parts = parts_of(mail_app)
    addresses = [address() for _ in range(3)]
    queued = [ask(mail_app, recipient=one) for one in addresses]
    with rotating(mail_app) as rings:
        parts.data_keys = rings["both"]
        assert deliver(mail_app, queued[0]).state == "sent"
        run_task(mail_app, "reencrypt")
        assert "new" in rows_by_kid(mail_app)
        parts.data_keys = rings["new"]
        assert deliver(mail_app, queued[1]).state == "sent"
    done = run_command(mail_app, "secrets", "reencrypt")
    assert done.exit_code == 0, done.output
    assert deliver(mail_app, queued[2]).state == "sent"
    for one in addresses:
        assert "/apply/confirm?token=" in sink.to(one)[0].text
