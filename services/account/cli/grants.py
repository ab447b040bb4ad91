"""What commands that end a person's access say about the grants of apps, which the issuer ends on an event."""

import time

from services.account.extensions import db, outbox
from services.account.flows.revoking import Revoked

GRANTS_WAIT_S = 5.0


def grants_in_words(have_ended: bool) -> str:
    if have_ended:
        return "Their grants have ended too."
    return "Their grants have not ended yet: the issuer has not confirmed; it will be told until it does."


def wait_for_grants(revoked: Revoked) -> bool:
    """Whether the issuer has confirmed, waiting for it at most GRANTS_WAIT_S."""
    deadline = time.monotonic() + GRANTS_WAIT_S
    while True:
        with db.transaction():
            waiting = outbox.waiting(revoked.event_ids)
        if not waiting or time.monotonic() > deadline:
            return not waiting
        time.sleep(0.05)
