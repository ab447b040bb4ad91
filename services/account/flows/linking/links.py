"""Links: which account elsewhere signs whom in. It is (issuer, subject), never an e-mail address."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.database import utcnow, uuid7
from libs.people.sessions import Session
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.copies import is_live
from services.account.flows.factors import PROVIDER
from services.account.flows.linking.visits import Visit, VisitEnded
from services.account.flows.login import AccountDisabled, Halfway, LoginRefused, sign_in
from services.account.flows.notices import tell
from services.account.flows.revoking import revoke_access
from services.account.flows.sessions import SignIn
from services.account.flows.users import lock_user, outdate_sign_ins
from services.account.flows.visitor import Visitor
from services.account.flows.ways_in import keep_a_way_in
from services.account.models import LinkedIdentity, ProviderVisit, SignInAttempt, SignInSession, User
from services.account.providers import Identity, label_of


class NotLinked(Problem):
    """Nobody has linked this account elsewhere. Whose address it has does not matter."""

    status, slug, title = 403, "not-linked", lazy_gettext("Nobody here has linked this account yet")


class IdentityTaken(Problem):
    """Another person has linked it; who, is nobody's business."""

    status, slug, title = 409, "identity-taken", lazy_gettext("This account is linked to another person here")


class AlreadyLinked(Problem):
    """The person has linked another account of this provider."""

    status, slug, title = 409, "already-linked", lazy_gettext("You have linked another account of this kind")


class NothingLinked(Problem):
    """The person has linked no account of this provider."""

    status, slug, title = 404, "nothing-linked", lazy_gettext("You have not linked such an account")


def list_links(*, sub: str) -> list[LinkedIdentity]:
    """The accounts elsewhere that sign this person in, oldest first."""
    with db.single_statements() as session:
        return list(
            session.scalars(
                sa.select(LinkedIdentity)
                .join(User)
                .where(User.sub == sub)
                .order_by(LinkedIdentity.id)
                .execution_options(populate_existing=True)
            )
        )


def sign_in_with(visit: Visit, *, identity: Identity, visitor: Visitor) -> SignIn | Halfway:
    """Sign in whoever has linked this identity; their own second factor is asked all the same.

    Raises NotLinked, AccountDisabled, KeptOut.
    """
    owner = sa.select(LinkedIdentity.user_id).where(*_is(identity)).scalar_subquery()
    try:
        done = sign_in(
            User.id == owner,
            evidence=PROVIDER,
            method=visit.provider.name,
            visitor=visitor,
            provider=visit.provider.name,
        )
    except AccountDisabled:
        raise
    except LoginRefused as refused:
        raise NotLinked from refused
    with db.single_statements() as session:
        session.execute(
            sa.update(LinkedIdentity)
            .where(*_is(identity))
            .values(last_used_at=utcnow(), name=identity.name)
            .execution_options(synchronize_session=False)
        )
    return done


def link(visit: Visit, *, by: Session | None, identity: Identity, visitor: Visitor) -> bool:
    """Link the identity to the person who began the visit and acts in the session `by`.

    False when it was linked to them before. Raises VisitEnded, IdentityTaken, AlreadyLinked.
    """
    if by is None:
        raise VisitEnded
    with acting_as(f"user:{by.sub}"), db.transaction() as session:
        user = lock_user(session, sub=by.sub)
        # Looked at under the lock: while the provider was asked, somebody may have taken the account over.
        is_signed_in = session.scalar(
            sa.select(
                sa.exists().where(SignInSession.id == by.sid, SignInSession.user_id == user.id, is_live())
            )
        )
        if user.id != visit.user_id or not user.is_active or not is_signed_in:
            raise VisitEnded
        new = session.scalar(
            insert(LinkedIdentity)
            .values(
                id=uuid7(),
                user_id=user.id,
                provider=visit.provider.name,
                issuer=identity.issuer,
                subject=identity.subject,
                name=identity.name,
                created_at=utcnow(),
            )
            .on_conflict_do_nothing()
            .returning(LinkedIdentity.id)
        )
        if new is None:
            return _linked_before(session, user, identity)
        audit.record(
            "identity.linked",
            target=f"user:{user.sub}",
            after={"provider": visit.provider.name, "name": identity.name},
        )
        tell(
            session,
            user=user,
            template="provider_linked",
            visitor=visitor,
            context={"provider": visit.provider.label, "account": identity.name},
        )
        return True


def _linked_before(session: DatabaseSession, user: User, identity: Identity) -> bool:
    """False when the identity is this person's own. Raises IdentityTaken, AlreadyLinked."""
    owner = session.scalar(sa.select(LinkedIdentity.user_id).where(*_is(identity)))
    if owner is None:
        raise AlreadyLinked(gettext("Unlink that one first, then link this one."))
    if owner != user.id:
        raise IdentityTaken
    return False


def unlink(*, sub: str, provider: str, keep_sid: str, visitor: Visitor) -> None:
    """Let the account elsewhere sign this person in no more, and end the sessions that it began but `keep_sid`.

    Raises NothingLinked, LastWayIn.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        identity = session.scalar(
            sa.select(LinkedIdentity).where(
                LinkedIdentity.user_id == user.id, LinkedIdentity.provider == provider
            )
        )
        if identity is None:
            raise NothingLinked
        _forget(session, user, [identity])
        keep_a_way_in(session, user)
        sids = session.scalars(
            sa.select(SignInSession.id).where(
                SignInSession.user_id == user.id,
                SignInSession.provider == provider,
                SignInSession.ended_at.is_(None),
                SignInSession.id != keep_sid,
            )
        ).all()
        if sids:
            revoke_access(sub=sub, cause="session_ended", sids=sids)
        tell(
            session,
            user=user,
            template="provider_unlinked",
            visitor=visitor,
            context={"provider": label_of(provider), "account": identity.name},
        )


def forget_links(session: DatabaseSession, user: User, *, since: datetime | None = None) -> int:
    """Forget this person's accounts elsewhere, all or those linked since, in the transaction under way.

    For whoever takes the account over, or back: what others linked signs nobody in any more. The caller has locked
    the user's row, and ends the sessions. Returns how many there were.
    """
    query = sa.select(LinkedIdentity).where(LinkedIdentity.user_id == user.id)
    if since is not None:
        query = query.where(LinkedIdentity.created_at >= since)
    identities = session.scalars(query).all()
    _forget(session, user, identities)
    session.execute(
        sa.update(ProviderVisit)
        .where(ProviderVisit.user_id == user.id, ProviderVisit.used_at.is_(None))
        .values(used_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    return len(identities)


def _forget(session: DatabaseSession, user: User, identities: Sequence[LinkedIdentity]) -> None:
    """Delete identities, and what they are in the middle of."""
    if not identities:
        return
    for identity in identities:
        session.delete(identity)
        audit.record(
            "identity.unlinked",
            target=f"user:{user.sub}",
            before={"provider": identity.provider, "name": identity.name},
        )
    session.execute(
        sa.update(SignInAttempt)
        .where(
            SignInAttempt.user_id == user.id,
            SignInAttempt.provider.in_([identity.provider for identity in identities]),
            SignInAttempt.finished_at.is_(None),
        )
        .values(finished_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    session.flush()
    outdate_sign_ins(user)


def _is(identity: Identity) -> tuple[sa.ColumnElement[bool], ...]:
    return (LinkedIdentity.issuer == identity.issuer, LinkedIdentity.subject == identity.subject)
