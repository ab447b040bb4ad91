"""The sample service as processes of its own, which stand still where a test wants to strike.

`celery --app tests.faults.messenger worker` is a worker; `python -m tests.faults.messenger` is a relay that waits for
`relay-may-begin`, relays until nothing is due, and ends.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from libs.messaging.events import Event, MailRequested
from libs.messaging.inbox import Inbox
from libs.messaging.relay import Relay
from libs.messaging.worker import create_worker
from tests.faults import POISON
from tests.libs import sample

FOLDER = Path(os.environ["STEPS"])


def stand_still(step: str) -> None:
    """Where a test wants it, say that this step is reached, and wait until it lets go or kills us."""
    wanted = FOLDER / f"wanted-{step}"
    if wanted.exists():
        (FOLDER / f"reached-{step}").touch()
        while wanted.exists():
            time.sleep(0.02)


def handle(event: Event) -> None:
    if getattr(event, "deduplication_key", "").startswith(POISON):
        os.kill(os.getpid(), signal.SIGKILL)
    sample.handle(event)
    stand_still("in-transaction")


class SlowInbox(Inbox):
    """It may be struck between its commit and its confirmation."""

    def _confirm(self, *arguments: Any, **options: Any) -> None:
        stand_still("before-confirmation")
        super()._confirm(*arguments, **options)


class SlowRelay(Relay):
    """It may be struck between what it has sent and its commit."""

    def _note_sent(self, *arguments: Any) -> None:
        stand_still("before-note")
        super()._note_sent(*arguments)


service = sample.create_app()
sample.inbox.__class__ = SlowInbox
sample.inbox._handlers = {**sample.inbox._handlers, MailRequested: handle}
assert sample.outbox._relay
sample.outbox._relay.__class__ = SlowRelay
celery = create_worker(service)

if __name__ == "__main__":
    (FOLDER / f"relay-ready-{os.getpid()}").touch()
    while not (FOLDER / "relay-may-begin").exists():
        time.sleep(0.001)
    with service.app_context():
        while sample.outbox.relay():
            pass
