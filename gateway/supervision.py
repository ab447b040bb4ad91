"""supervisor for the processes of `make suite`: its configuration, its start and end, and what one may ask it."""

import contextlib
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.servers import ServerError, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 40
BEHIND_THE_DOOR = "suite"
START_TIMEOUT_S = 10


@dataclass(frozen=True)
class Program:
    """One process that supervisor keeps alive, with what its environment has beyond the common one."""

    name: str
    command: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    is_door: bool = False
    """Whether it is told to stop, and has stopped, before the others are."""

    @property
    def address(self) -> str:
        """Its name for supervisor, which stops one group after the other, but a group's programs side by side."""
        return self.name if self.is_door else f"{BEHIND_THE_DOOR}:{self.name}"

    def section(self) -> str:
        values = ",".join(f'{name}="{value}"' for name, value in self.environment.items())
        # nginx finishes what it holds on QUIT; what is behind it does so on TERM.
        stop_signal = "QUIT" if self.is_door else "TERM"
        return (
            f"[program:{self.name}]\ncommand={self.command}\ndirectory={ROOT}\nenvironment={values}\n"
            f"stdout_logfile={self.log}\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n"
            "autorestart=true\nstartsecs=1\nstartretries=5\n"
            f"stopsignal={stop_signal}\nstopwaitsecs=30\nkillasgroup=true\n"
        )


class Supervisor:
    """One supervisord, with its socket in a folder whose name is short enough for one."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.programs: dict[str, Program] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, programs: Iterable[Program], environ: Mapping[str, str]) -> None:
        """Start it and all programs. Raises ServerError when it does not answer."""
        self.programs = {program.name: program for program in programs}
        behind = ",".join(name for name, program in self.programs.items() if not program.is_door)
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(
            f"[supervisord]\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={self.folder}/supervisord.pid\n"
            f"[unix_http_server]\nfile={self.folder}/supervisor.sock\nchmod=0700\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            + "".join(program.section() for program in self.programs.values())
            + f"[group:{BEHIND_THE_DOOR}]\nprograms={behind}\npriority=100\n"
        )
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("supervisord")), "--nodaemon", "-c", str(configuration)],
                env=dict(environ),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.is_alive:
            with contextlib.suppress(OSError, xmlrpc.client.Error):
                self.ask("getState")
                return
            time.sleep(0.05)
        raise ServerError(f"supervisor did not start; see {self.log}.")

    def stop(self) -> None:
        """End all programs in order, and by force after STOP_TIMEOUT_S."""
        if self._process is None:
            return
        if self.is_alive:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def ask_about(self, program: str, method: str, *arguments: Any) -> Any:
        """Call a method that is about one program, such as startProcess."""
        return self.ask(method, self.programs[program].address, *arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of supervisor's XML-RPC interface."""
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.folder}/supervisor.sock")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
