"""What an invitation does to an application: it spends a use of it, and decides it."""

import uuid

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import acting_as
from libs.database import utcnow
from libs.guard import single_use
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.flows import links, mail, states
from services.onboarding.flows.review import questions
from services.onboarding.models import UNDECIDED, Application, Invitation, fold


class InvitationEnded(Problem):
    """The link of an invitation opens nothing: `why` is unknown, used, expired, withdrawn or superseded."""

    status, slug = 410, "invitation-ended"
    title = lazy_gettext("This invitation no longer works")

    def __init__(self, why: str):
        super().__init__(f"The invitation is {why}.")
        self.why = why


def target(invitation_id: uuid.UUID) -> str:
    """What the audit calls an invitation, and `decided_by` of an application that it let in."""
    return f"invitation:{invitation_id}"


def find(token: str, *, locked: bool = False) -> tuple[Invitation, str | None]:
    """The invitation of a link, and why the link has ended (None while it works). Raises InvitationEnded("unknown").

    `locked` holds the row until the transaction under way ends: people who come by one link take turns.
    """
    digest = single_use.digest(token)
    query = sa.select(Invitation).where(
        sa.or_(Invitation.token_digest == digest, Invitation.earlier_digests.contains([digest]))
    )
    invitation = db.session.execute(
        query.with_for_update() if locked else query, execution_options={"populate_existing": True}
    ).scalar_one_or_none()
    if invitation is None:
        raise InvitationEnded("unknown")
    state = state_of(invitation)
    if state == "withdrawn":
        return invitation, state
    if invitation.token_digest != digest:
        return invitation, "superseded"
    return invitation, None if state == "open" else state


def state_of(invitation: Invitation) -> str:
    """open, used, expired or withdrawn."""
    if invitation.withdrawn_at is not None:
        return "withdrawn"
    if invitation.uses >= invitation.most_uses:
        return "used"
    return "expired" if is_over(invitation) else "open"


def is_over(invitation: Invitation) -> bool:
    """Whether its time is over, used up or not: a link that was mailed is no way in for ever."""
    return invitation.expires_at <= utcnow()


def is_for(invitation: Invitation | None, application: Application) -> bool:
    """Whether the link was mailed to just this address: whoever brings it has the mailbox."""
    if invitation is None:
        return False
    return bool(invitation.email_folded) and invitation.email_folded == application.email_folded


def has_used(invitation: Invitation, email: str) -> bool:
    """Whether this address has come by the invitation before: a use is an address, however often it sends the form.

    Until its account is open: what the invitation was for has happened then.
    """
    return _came(invitation, email, Application.state != "activated")


def is_with_reviewers(invitation: Invitation, email: str) -> bool:
    """Whether reviewers refused, or took back, whom the invitation let in: it decides nothing more about them."""
    is_undone = sa.and_(
        Application.confirmed_at.is_not(None),
        Application.decided_at.is_(None),
        Application.state != "activated",
    )
    return _came(invitation, email, sa.or_(Application.state == "rejected", is_undone))


def _came(invitation: Invitation, email: str, condition: sa.ColumnElement[bool]) -> bool:
    came = sa.exists().where(
        Application.invitation_id == invitation.id, Application.email_folded == fold(email), condition
    )
    return bool(db.session.scalar(sa.select(came)))


def spend(invitation: Invitation, application: Application) -> None:
    """Take one use, in the transaction that has its effect. Raises InvitationEnded where none is left."""
    spent = db.session.execute(
        sa.update(Invitation)
        .where(
            Invitation.id == invitation.id,
            Invitation.withdrawn_at.is_(None),
            Invitation.expires_at > utcnow(),
            Invitation.uses < Invitation.most_uses,
        )
        .values(uses=Invitation.uses + 1)
        .returning(Invitation.uses),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    db.session.refresh(invitation)
    if spent is None:
        raise InvitationEnded(state_of(invitation))
    audit.record(
        "invitation.used",
        target=target(invitation.id),
        after={"uses": spent.uses, "application": application.id},
    )


def let_in(application: Application, invitation: Invitation) -> str | None:
    """Decide the application by the invitation. Returns the activation link, where the browser may go on with it.

    That is where the invitation was mailed to the application's address: its token proves the mailbox. Anybody else
    confirms the address first, and is let in at that moment. The caller's transaction holds both.
    """
    application.invitation_id = invitation.id
    application.roles = sorted({*application.roles, *invitation.roles})
    is_theirs = is_for(invitation, application)
    with acting_as(target(invitation.id)):
        if is_theirs and application.confirmed_at is None:
            states.make(states.CONFIRM, application.id)
            links.use_up(application.id, links.CONFIRM_ADDRESS)
        if application.confirmed_at is None:
            return None
        is_undecided = application.state in UNDECIDED
        if is_undecided:
            states.make(states.APPROVE, application.id, decided_by=target(invitation.id))
            questions.close(application.id)
    if not (is_theirs or is_undecided):
        return None
    # The same link by mail: whoever closes the page finds it there.
    url = mail.send_activation_link(application)
    return url if is_theirs else None


def take_away(invitation: Invitation) -> None:
    """What is not decided yet goes on without the withdrawn invitation, and without the roles that it would give.

    The caller's transaction holds the invitation.
    """
    db.session.execute(
        sa.update(Application)
        .where(Application.invitation_id == invitation.id, Application.state.in_(UNDECIDED))
        .values(invitation_id=None, roles=[])
        .execution_options(synchronize_session=False)
    )
