"""invitations: ways in that skip the review."""

import uuid
from datetime import timedelta

import click
from flask.cli import AppGroup

from libs.commands import DURATION, LIMIT, command, done, show, show_one, wait_for_events
from libs.web.languages import DEFAULT, LANGUAGES
from services.onboarding.cli.addresses import checked_address
from services.onboarding.flows.invitations import keeping
from services.onboarding.flows.invitations.uses import state_of
from services.onboarding.models import ROLES, Invitation

invitations = AppGroup("invitations", help="Ways in that skip the review: by mail, or a link to hand out.")


@invitations.command("create", help="Invite an address by mail, or make a link; that is printed this once.")
@click.option("--email", default="", help="Mail the invitation there, for one person.")
@click.option(
    "--uses", type=click.IntRange(1, keeping.MOST_USES), default=1, help="How many people the link lets in."
)
@click.option("--expires", "lifetime", type=DURATION, help="Such as 7d; INVITATION_LIFETIME unless named.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Given with the account.")
@click.option("--locale", type=click.Choice(list(LANGUAGES)), default=DEFAULT, show_default=True)
@click.option("--note", default="", help="For staff.")
@command
def create(
    email: str,
    uses: int,
    lifetime: timedelta | None,
    roles: tuple[str, ...],
    locale: str,
    note: str,
    as_json: bool,
) -> None:
    made = keeping.create(
        email=checked_address(email) if email else "",
        most_uses=uses,
        lifetime=lifetime,
        roles=roles,
        locale=locale,
        note=note,
    )
    _show_made(made, as_json=as_json)


@invitations.command("list", help="Invitations, newest first.")
@click.option("--state", type=click.Choice(keeping.FILTERS), default="all", show_default=True)
@click.option("--search", default="", help="Only where address or note holds this.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_invitations(state: str, search: str, limit: int, as_json: bool) -> None:
    found = keeping.find(state=state, search=search, size=limit)
    show([_facts(one) for one in found.invitations], as_json=as_json, empty="No invitations.")


@invitations.command("resend", help="Mail a new link, or print it; it ends the earlier one.")
@click.argument("invitation_id", type=click.UUID)
@click.option("--expires", "lifetime", type=DURATION, help="From now on; else its end stays.")
@command
def resend(invitation_id: uuid.UUID, lifetime: timedelta | None, as_json: bool) -> None:
    _show_made(keeping.resend(invitation_id=invitation_id, lifetime=lifetime), as_json=as_json)


@invitations.command("withdraw", help="End an invitation; whom it has let in stays.")
@click.argument("invitation_id", type=click.UUID)
@command
def withdraw(invitation_id: uuid.UUID, as_json: bool) -> None:
    invitation = keeping.withdraw(invitation_id=invitation_id)
    done(f"Invitation {invitation.id} is withdrawn.", _facts(invitation), as_json=as_json)


def _show_made(made: keeping.Made, *, as_json: bool) -> None:
    wait_for_events(quiet=as_json)
    facts = _facts(made.invitation)
    if as_json or made.link:
        show_one({**facts, **({"link": made.link} if made.link else {})}, as_json=as_json)
    else:
        click.echo(f"Invitation {made.invitation.id} is mailed to {made.invitation.email}.")


def _facts(invitation: Invitation) -> dict[str, object]:
    return {
        "id": invitation.id,
        "state": state_of(invitation),
        "email": invitation.email or None,
        "uses": invitation.uses,
        "most_uses": invitation.most_uses,
        "roles": list(invitation.roles),
        "locale": invitation.locale,
        "note": invitation.note or None,
        "created_at": invitation.created_at,
        "created_by": invitation.created_by,
        "expires_at": invitation.expires_at,
        "mail_trouble": invitation.mail_trouble,
    }
