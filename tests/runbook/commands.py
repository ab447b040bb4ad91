"""Runs commands of the services, each in a process of its own that is forked from this one: nobody waits for imports.

`python -m tests.runbook.commands SOCKET` listens; `ask` sends it arguments, environment and the three standard streams.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Sequence

LONGEST_REQUEST = 1 << 17


def ask(path: str, arguments: Sequence[str], streams: Sequence[int] = (0, 1, 2)) -> int:
    """Run `flask ARGUMENTS` with our environment and these streams. Returns its exit code."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
        request = json.dumps({"arguments": list(arguments), "environ": dict(os.environ)}).encode()
        socket.send_fds(caller, [request], list(streams))
        return int(caller.recv(16))


def serve(path: str) -> None:
    import services.account
    import services.notification
    import services.oidc
    import services.onboarding  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        request, streams, _, _ = socket.recv_fds(caller, LONGEST_REQUEST, 3)
        pid = os.fork()
        if not pid:
            _run(json.loads(request), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(pid, 0)
        caller.send(str(os.waitstatus_to_exitcode(status)).encode())
        caller.close()


def _run(request: dict[str, object], streams: Sequence[int]) -> None:
    """As `python -m flask` would, in the forked process; ends it."""
    from flask.cli import main

    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(request["environ"])  # type: ignore[call-overload]
        sys.argv = ["flask", *request["arguments"]]  # type: ignore[misc]
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
