"""Staff's side of invitations: making them, mailing them, handing out links, ending them."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.messaging.events import MailRequested
from libs.service import parts_of
from libs.web.languages import LANGUAGES
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import people
from services.onboarding.flows.invitations import uses
from services.onboarding.flows.invitations.uses import state_of, target
from services.onboarding.models import ROLES, Invitation, fold
from services.onboarding.settings import OnboardingSettings

LONGEST_LIFETIME = timedelta(days=365)
MOST_USES = 1000
LONGEST_NOTE = 500
KEPT_DIGESTS = 20
"""So many replaced links of an invitation are still known for what they were."""
PAGE_SIZE = 50
STATES = ("open", "used", "expired", "withdrawn")
FILTERS = (*STATES, "all")


class BadInvitation(Problem):
    """Such an invitation cannot be made; `errors` says why, by field."""

    status, slug, title = 422, "bad-invitation", lazy_gettext("Such an invitation cannot be made")


class UnknownInvitation(Problem):
    """No invitation has this id."""

    status, slug, title = 404, "unknown-invitation", lazy_gettext("There is no invitation with this id")


class InvitationOver(Problem):
    """It was withdrawn or used up: nothing is left to send."""

    status, slug = 409, "invitation-over"
    title = lazy_gettext("This invitation is over: make another one")


@dataclass(frozen=True)
class Made:
    """An invitation, and its link where staff hand it out; the link of a mailed one is for its mailbox alone."""

    invitation: Invitation
    link: str | None


@dataclass(frozen=True)
class Page:
    """A page of the list, newest first. `after` opens the next one; None on the last."""

    invitations: list[Invitation]
    after: uuid.UUID | None


def create(
    *,
    email: str = "",
    most_uses: int = 1,
    lifetime: timedelta | None = None,
    roles: Collection[str] = (),
    locale: str = "en",
    note: str = "",
) -> Made:
    """Invite an address by mail, or with no `email` make a link for `most_uses` people.

    Who may give which `roles` is the doors' to say. Raises BadInvitation.
    """
    settings = _settings()
    lifetime = settings.INVITATION_LIFETIME if lifetime is None else lifetime
    note = " ".join(note.replace("\0", "").split())
    _check(email=email, most_uses=most_uses, lifetime=lifetime, roles=roles, locale=locale, note=note)
    token, digest = single_use.make()
    now = utcnow()
    invitation = Invitation(
        id=uuid7(),
        email=email,
        email_folded=fold(email),
        token_digest=digest,
        most_uses=most_uses,
        uses=0,
        roles=sorted(set(roles)),
        locale=locale,
        note=note,
        created_at=now,
        created_by=current_actor(),
        expires_at=now + lifetime,
    )
    with db.transaction() as session:
        session.add(invitation)
        session.flush()
        audit.record(
            "invitation.created",
            target=target(invitation.id),
            after={
                "by_mail": bool(email),
                "most_uses": most_uses,
                "roles": invitation.roles,
                "expires_at": invitation.expires_at,
            },
        )
        return _hand_out(invitation, token)


def resend(*, invitation_id: uuid.UUID, lifetime: timedelta | None = None) -> Made:
    """A new link for an invitation; it ends the earlier one, and is mailed where that was.

    One that has expired works anew, for `lifetime` or as long as usual; otherwise its end stays where it is, unless
    a `lifetime` is named. Raises UnknownInvitation, InvitationOver, BadInvitation.
    """
    with db.transaction() as session:
        invitation = _get_locked(invitation_id)
        state = state_of(invitation)
        if state in ("used", "withdrawn"):
            raise InvitationOver
        if lifetime is not None:
            _refuse({**_lifetime_error(lifetime)})
        if lifetime is not None or state == "expired":
            invitation.expires_at = utcnow() + (lifetime or _settings().INVITATION_LIFETIME)
        token, digest = single_use.make()
        invitation.earlier_digests = [*invitation.earlier_digests, invitation.token_digest][-KEPT_DIGESTS:]
        invitation.token_digest = digest
        session.flush()
        audit.record(
            "invitation.sent_again",
            target=target(invitation.id),
            after={"expires_at": invitation.expires_at},
        )
        return _hand_out(invitation, token)


def withdraw(*, invitation_id: uuid.UUID) -> Invitation:
    """End an invitation; whom it has let in stays, whoever is on the way goes on without it.

    Withdrawing it again changes nothing. Raises UnknownInvitation.
    """
    with db.transaction() as session:
        invitation = _get_locked(invitation_id)
        if invitation.withdrawn_at is None:
            invitation.withdrawn_at = utcnow()
            session.flush()
            uses.take_away(invitation)
            audit.record(
                "invitation.withdrawn", target=target(invitation.id), after={"uses": invitation.uses}
            )
        return invitation


def get(*, invitation_id: uuid.UUID) -> Invitation:
    """The invitation as it stands now. Raises UnknownInvitation."""
    invitation = db.session.get(Invitation, invitation_id, populate_existing=True)
    if invitation is None:
        raise UnknownInvitation
    return invitation


def find(
    *, state: str = "all", search: str = "", after: uuid.UUID | None = None, size: int = PAGE_SIZE
) -> Page:
    """Invitations of a filter, newest first. `search` finds parts of addresses and notes, taken literally."""
    query = sa.select(Invitation).order_by(Invitation.id.desc()).limit(size + 1)
    is_used, is_over = Invitation.uses >= Invitation.most_uses, Invitation.expires_at <= utcnow()
    is_withdrawn = Invitation.withdrawn_at.is_not(None)
    conditions = {
        "open": sa.and_(~is_withdrawn, ~is_used, ~is_over),
        "used": sa.and_(~is_withdrawn, is_used),
        "expired": sa.and_(~is_withdrawn, ~is_used, is_over),
        "withdrawn": is_withdrawn,
    }
    if state in conditions:
        query = query.where(conditions[state])
    words = search.replace("\0", "").strip()
    if words:
        query = query.where(
            sa.or_(
                Invitation.email_folded.contains(words.lower(), autoescape=True),
                Invitation.note.icontains(words, autoescape=True),
            )
        )
    if after is not None:
        query = query.where(Invitation.id < after)
    found = list(db.session.execute(query.execution_options(populate_existing=True)).scalars())
    return Page(found[:size], found[size - 1].id if len(found) > size else None)


def note_ended(*, deduplication_key: str, outcome: str) -> None:
    """The mail of an invitation will not arrive: staff see it on the row, unless they have sent a newer one."""
    _, invitation_id, mark = deduplication_key.split(":")
    with db.transaction() as session:
        invitation = session.get(
            Invitation, uuid.UUID(invitation_id), populate_existing=True, with_for_update=True
        )
        if invitation is None or _mark(invitation) != mark:
            return
        invitation.mail_trouble = outcome
        audit.record("invitation.mail_ended", target=target(invitation.id), after={"outcome": outcome})


def _hand_out(invitation: Invitation, token: str) -> Made:
    """Mail the link to whom it is for, or give it to staff; never both."""
    # The configured origin, whatever Host header the request under way came with.
    url = f"{_settings().PUBLIC_URL}/invitations?token={token}"
    if not invitation.email:
        return Made(invitation, url)
    invitation.mailed_at, invitation.mail_trouble = utcnow(), None
    outbox.record(
        MailRequested(
            template="invitation",
            recipient=invitation.email,
            locale=invitation.locale,
            context={
                "name": "",
                "inviter": people.names_of([invitation.created_by]).get(invitation.created_by),
                "link": url,
                "expires_at": invitation.expires_at.isoformat(),
            },
            deduplication_key=f"{target(invitation.id)}:{_mark(invitation)}",
            # Nobody is sent a link that no longer works.
            expires_at=invitation.expires_at.isoformat(),
        )
    )
    db.session.flush()
    return Made(invitation, None)


def _mark(invitation: Invitation) -> str:
    """What tells the mails of one invitation apart: a piece of its link's hash."""
    return invitation.token_digest[:16]


def _check(
    *, email: str, most_uses: int, lifetime: timedelta, roles: Collection[str], locale: str, note: str
) -> None:
    errors = _lifetime_error(lifetime)
    if not 0 < most_uses <= MOST_USES:
        errors["uses"] = lazy_gettext("From 1 to %(count)s.", count=MOST_USES)
    elif email and most_uses != 1:
        errors["uses"] = lazy_gettext("A mailed invitation is for one person.")
    if not set(roles) <= set(ROLES):
        errors["roles"] = lazy_gettext("The roles are %(roles)s.", roles=", ".join(ROLES))
    if locale not in LANGUAGES:
        errors["locale"] = lazy_gettext("The languages are %(languages)s.", languages=", ".join(LANGUAGES))
    if len(note) > LONGEST_NOTE or not note.isprintable():
        errors["note"] = lazy_gettext("Use %(longest)s characters at most.", longest=LONGEST_NOTE)
    _refuse(errors)


def _lifetime_error(lifetime: timedelta) -> dict[str, object]:
    if timedelta(0) < lifetime <= LONGEST_LIFETIME:
        return {}
    return {"expires": lazy_gettext("At most a year.")}


def _refuse(errors: dict[str, object]) -> None:
    if errors:
        raise BadInvitation(errors=errors)


def _get_locked(invitation_id: uuid.UUID) -> Invitation:
    invitation = db.session.get(Invitation, invitation_id, populate_existing=True, with_for_update=True)
    if invitation is None:
        raise UnknownInvitation
    return invitation


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings
