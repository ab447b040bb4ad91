"""After a restore: no grant, token, consent or key of before is believed. docs/decisions/0031 says why so much."""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from libs.messaging.events import KeysChanged
from services.oidc.extensions import db, outbox
from services.oidc.flows.keys import replace_all
from services.oidc.models import AccessToken, AnnouncedKeys, Consent, Grant, InitialAccessToken, Subject

CAUSE = "restored"
VERSIONS_AHEAD = 1000
"""The other services may have heard of more changes of keys than this database knows; of so many they have not."""


def end_what_may_have_ended() -> dict[str, int]:
    """End every grant and token, forget consents, and sign by new keys; the caller's transaction holds it.

    The new keys end access tokens that verify by themselves, and whatever a key has signed that was withdrawn since.
    """
    now = utcnow()
    grants = _change(sa.update(Grant).where(Grant.ended_at.is_(None)).values(ended_at=now, end_cause=CAUSE))
    _change(sa.update(AccessToken).where(AccessToken.revoked_at.is_(None)).values(revoked_at=now))
    # A copy of a session may be left somewhere: no grant comes of it.
    began = sa.func.greatest(Subject.revoked_before, int(time.time()))
    _change(sa.update(Subject).values(revoked_before=began))
    consents = _change(sa.delete(Consent))
    tokens = _change(
        sa.update(InitialAccessToken).where(InitialAccessToken.expires_at > now).values(expires_at=now)
    )
    # A set of before that a service has not heard of, or may have lost, would be believed until the new one comes.
    _change(sa.delete(outbox.events).where(outbox.events.c.name == KeysChanged.NAME))
    # A database of before the first keys has told nobody of any, as far as it knows.
    _change(
        insert(AnnouncedKeys)
        .values(id=1, version=VERSIONS_AHEAD, digest="")
        .on_conflict_do_update(
            index_elements=[AnnouncedKeys.id], set_={"version": AnnouncedKeys.version + VERSIONS_AHEAD}
        )
    )
    made = replace_all()
    return {
        "grants ended": grants,
        "consents forgotten": consents,
        "registration tokens ended": tokens,
        "signing keys replaced": len(made.turns),
        "keys withdrawn": len(made.withdrawn),
    }


def _change(statement: Any) -> int:
    done = db.session.execute(statement.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]
