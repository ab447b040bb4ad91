"""The invited person's side: what an invitation says, applying by it, going on from there."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.service import parts_of
from libs.web.problems import Problem
from services.onboarding.extensions import db
from services.onboarding.flows import apply, mail, people, policies, states
from services.onboarding.flows.invitations import uses
from services.onboarding.flows.invitations.uses import InvitationEnded
from services.onboarding.models import Application, Invitation


class NobodyJoins(Problem):
    """The policy is closed: an invitation opens nothing until it is another."""

    status, slug = 403, "applications-closed"
    title = lazy_gettext("Nobody can join at the moment")


@dataclass(frozen=True)
class Sight:
    """An invitation as its bearer sees it."""

    invitation: Invitation
    inviter: str | None
    """Who made it, where that is a person whose name we know."""
    why: str | None
    """Why the link no longer works; None while it does."""
    may_go_on: bool
    """Whether the bearer applied by it already and has only to open the account."""


def look_at(*, token: str) -> Sight:
    """What the link of an invitation opens; looking spends nothing. Raises InvitationEnded("unknown"), NobodyJoins."""
    invitation, why = uses.find(token)
    if why is None and policies.look_at_door().why == "closed":
        raise NobodyJoins
    names = people.names_of([invitation.created_by])
    return Sight(
        invitation=invitation,
        inviter=names.get(invitation.created_by),
        why=why,
        may_go_on=why == "used" and _waiting(invitation) is not None,
    )


def accept(*, token: str, email: str, **application: Any) -> str | None:
    """Apply by an invitation: a row, a use of it and the decision, or nothing of that.

    Returns the path of the activation link where the browser goes straight on; None where the address has to be
    confirmed by mail. Sent again for the same address it is the same application, and uses the invitation once.
    Raises InvitationEnded, NotTaken.
    """
    with db.transaction():
        invitation, why = uses.find(token, locked=True)
        was_here = uses.has_used(invitation, email)
        # Whoever has used it up may send the form again, as long as it would have worked.
        if why is not None and not (why == "used" and was_here and not uses.is_over(invitation)):
            raise InvitationEnded(why)
        if uses.is_with_reviewers(invitation, email):
            # They said otherwise than the invitation: from here on it is an application like every other.
            apply.submit(email=email, **application)
            return None
        found = apply.submit(email=email, **application, invitation=invitation)
        if found is None:
            return None  # refused, and nobody is told: the use stays
        if not was_here:
            uses.spend(invitation, found)
        url = uses.let_in(found, invitation)
        return _path(url) if url else None


def go_on(*, token: str) -> str:
    """A fresh activation link for whoever has applied by the invitation that was mailed to them.

    Raises InvitationEnded.
    """
    with db.transaction():
        invitation, why = uses.find(token)
        if why not in (None, "used"):
            raise InvitationEnded(why)
        waiting = _waiting(invitation)
        if waiting is None or states.get_locked(waiting.id).state != "approved":
            raise InvitationEnded("used")
        return _path(mail.send_activation_link(waiting))


def _path(url: str) -> str:
    """A link of ours for a browser that is here already."""
    return url.removeprefix(parts_of(current_app).settings.PUBLIC_URL)


def _waiting(invitation: Invitation) -> Application | None:
    """The application that came by this invitation from just the address it was mailed to, and is not open yet."""
    if not invitation.email_folded or uses.is_over(invitation):
        return None
    return db.session.execute(
        sa.select(Application).where(
            Application.invitation_id == invitation.id,
            Application.email_folded == invitation.email_folded,
            Application.state == "approved",
        )
    ).scalar_one_or_none()
