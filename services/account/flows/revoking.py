"""Revoking: one road for every cause, and the cause says how far it goes."""

import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from libs.database import utcnow
from libs.messaging.events import AccessRevoked
from services.account.extensions import audit, db, outbox
from services.account.flows.copies import owe
from services.account.models import SignInSession, User

SESSION_CAUSES = ("sign_out", "session_ended")
"""End the sessions named, and what is bound to them."""
PERSON_CAUSES = ("sessions_revoked", "disabled", "password_changed", "taken_over", "erased")
"""End everything of the person: sessions, tokens, offline grants. After `taken_over`, when somebody else had been in
the account, what they had allowed apps goes, too."""
PEOPLE_PER_BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """What a revocation did. `event_ids` tell whether the grants have ended yet."""

    sessions: int
    event_ids: tuple[uuid.UUID, ...]


def revoke_access(
    *, sub: str, cause: str, sids: Collection[str] | None = None, keep_sid: str | None = None
) -> Revoked:
    """End a person's access: with a cause of SESSION_CAUSES of these sessions, with one of PERSON_CAUSES of all.

    `keep_sid` spares one session, that of the person who acts. Rows end here; copies and access tokens die right
    after the commit; grants when oidc has the event. Ending sessions that have ended already does nothing.
    """
    assert cause in (SESSION_CAUSES if sids is not None else PERSON_CAUSES), cause
    with db.transaction() as session:
        user_id = session.scalar(sa.select(User.id).where(User.sub == sub).with_for_update(key_share=True))
        if user_id is None:
            return Revoked(sessions=0, event_ids=())
        chosen = [SignInSession.user_id == user_id, SignInSession.ended_at.is_(None)]
        if sids is not None:
            chosen.append(SignInSession.id.in_(list(sids)))
        if keep_sid is not None:
            chosen.append(SignInSession.id != keep_sid)
        ended = session.execute(
            sa.update(SignInSession)
            .where(*chosen)
            .values(ended_at=utcnow(), end_cause=cause)
            .returning(SignInSession.id, SignInSession.secret_digest)
            .execution_options(synchronize_session=False)
        ).all()
        if sids is not None and not ended:
            return Revoked(sessions=0, event_ids=())
        denials = [("deny_sid", row.id) for row in ended] if sids is not None else [("deny_sub", sub)]
        owe(*[("delete_copy", row.secret_digest) for row in ended], *denials)
        event = AccessRevoked(
            sub=sub,
            sids=[row.id for row in ended] if sids is not None else None,
            cause=cause,
            not_before=int(time.time()),
        )
        event_id = outbox.record(event)
        audit.record("access.revoked", target=f"user:{sub}", after={"sessions": len(ended)}, reason=cause)
    return Revoked(sessions=len(ended), event_ids=(event_id,))


def revoke_everybody() -> Revoked:
    """End the access of every person, in batches: what was done stays done when it is cut short."""
    sessions = 0
    events: list[uuid.UUID] = []
    after = uuid.UUID(int=0)
    while True:
        with db.transaction() as session:
            people = session.execute(
                sa.select(User.id, User.sub).where(User.id > after).order_by(User.id).limit(PEOPLE_PER_BATCH)
            ).all()
            for person in people:
                revoked = revoke_access(sub=person.sub, cause="sessions_revoked")
                sessions += revoked.sessions
                events += revoked.event_ids
        if not people:
            return Revoked(sessions=sessions, event_ids=tuple(events))
        after = people[-1].id
