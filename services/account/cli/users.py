"""`users`: people are found, opened, let in or kept out, and erased."""

import secrets
import string
import sys

import click
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, show, show_one, wait_for_events
from libs.lists import gather
from services.account.flows import erasure, search, users
from services.account.flows.overview import look_at
from services.account.flows.password_links import open_without_password
from services.account.models import ROLES, User

PASSWORD_SIGNS = string.ascii_letters + string.digits

users_group = AppGroup("users", help="People and what they may do.")


@users_group.command("list", help="People, newest first.")
@click.option(
    "--search",
    "text",
    default="",
    help="Only whose address or a word of whose name begins so; @example.org: of that mail domain.",
)
@click.option("--state", type=click.Choice(search.STATES), help="Only people like that.")
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_users(text: str, state: str | None, limit: int, as_json: bool) -> None:
    page = gather(
        lambda before, count: search.search_users(text=text, state=state, before=before, limit=count),
        limit=limit,
    )
    show([_line(user) for user in page.rows], as_json=as_json, empty="Nobody.")
    if page.is_cut and not as_json:
        click.echo("More people fit than can be shown in order: write more of the address or name.", err=True)


@users_group.command("show", help="One person.")
@click.argument("email")
@command
def show_user(email: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    seen = look_at(user)
    values = _line(user) | {
        "email_verified_at": user.email_verified_at,
        "locale": user.locale,
        "version": user.version,
        "application_id": user.application_id,
        "erase_at": user.erase_at,
        "has_password": seen.has_password,
        "passkeys": [passkey.name for passkey in seen.passkeys],
        "authenticator_app": seen.totp is not None,
        "recovery_codes_left": seen.recovery_codes_left,
        "linked": [f"{link.provider}: {link.name}" for link in seen.links],
        "known_devices": len(seen.devices),
        "sessions": len(seen.sessions),
        "last_sign_in": next((event.created_at for event, _ in seen.attempts if event.success), None),
    }
    show_one(values, as_json=as_json)


@users_group.command(
    "create", help="Open an account. Without an option about its password one is invented and printed once."
)
@click.argument("email")
@click.option("--name", help="How the person is called; else the part of the address before the @.")
@click.option("--admin", is_flag=True, help="Give the role admin.")
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(ROLES), help="Give a role; may be repeated."
)
@click.option("--locale", default="en", show_default=True)
@click.option("--verified", is_flag=True, help="You vouch that the address is the person's.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
@click.option("--password-prompt", is_flag=True, help="Ask for the password, unseen.")
@click.option("--mail-link", is_flag=True, help="No password: mail the person the link that sets one.")
@command
def create(
    email: str,
    name: str | None,
    admin: bool,
    roles: tuple[str, ...],
    locale: str,
    verified: bool,
    password_stdin: bool,
    password_prompt: bool,
    mail_link: bool,
    as_json: bool,
) -> None:
    if password_stdin + password_prompt + mail_link > 1:
        raise click.UsageError("Say one thing: --password-stdin, --password-prompt or --mail-link.")
    if mail_link and verified:
        raise click.UsageError("The mailed link shows whether the address is theirs: leave out --verified.")
    name, given = name or email.partition("@")[0], [*roles, *(["admin"] if admin else [])]
    if mail_link:
        user = open_without_password(email=email, name=name, locale=locale, roles=given)
        wait_for_events(quiet=as_json)
        sentence = (
            f"Opened the account {user.sub} for {user.email}, and mailed the link that sets a password."
        )
        done(sentence, {"sub": user.sub, "email": user.email, "roles": user.roles}, as_json=as_json)
        return
    invented = None
    if password_stdin:
        password = _first_line()
    elif password_prompt:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = invented = "".join(secrets.choice(PASSWORD_SIGNS) for _ in range(20))
    user = users.create_user(
        email=email,
        name=name,
        locale=locale,
        roles=given,
        is_email_verified=verified,
        password=password,
    )
    wait_for_events(quiet=as_json)
    values = {"sub": user.sub, "email": user.email, "roles": user.roles}
    sentence = f"Opened the account {user.sub} for {user.email}."
    if invented:
        values["password"] = invented
        sentence += f"\nThe password, shown this once: {invented}"
    done(sentence, values, as_json=as_json)


def _first_line() -> str:
    """The first line of standard input. Raises click.UsageError when it is no text."""
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError("The password on standard input is not UTF-8 text.") from None


@users_group.command("disable", help="Let nobody sign in as this person, and end all sessions and grants.")
@click.argument("email")
@click.option("--reason", help="Why, for the audit.")
@command
def disable(email: str, reason: str | None, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.disable_user(sub=user.sub, reason=reason)
    wait_for_events(quiet=as_json)
    did = "is disabled and signed out everywhere" if changed else "was disabled before"
    sentence = f"{user.email} {did}."
    done(sentence, {"sub": user.sub, "status": "disabled", "changed": changed}, as_json=as_json)


@users_group.command("enable", help="Let a disabled person sign in again.")
@click.argument("email")
@click.option("--reason", help="Why, for the audit.")
@command
def enable(email: str, reason: str | None, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.enable_user(sub=user.sub, reason=reason)
    wait_for_events(quiet=as_json)
    sentence = f"{user.email} may sign in again." if changed else f"{user.email} was not disabled."
    done(sentence, {"sub": user.sub, "status": "active", "changed": changed}, as_json=as_json)


@users_group.command("erase", help="Erase a person's account after the time of grace, or at once with --now.")
@click.argument("email")
@click.option("--now", is_flag=True, help="At once, and for good: nobody can bring it back.")
@click.option("--reason", help="Why, for the audit.")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@command
def erase(email: str, now: bool, reason: str | None, yes: bool, as_json: bool) -> None:
    user = users.get_user(email=email)
    sub, address = user.sub, user.email  # afterwards there may be no row to read them from
    if not yes:
        click.confirm(
            f"Erase the account of {address}{' now, for good' if now else ''}?", abort=True, err=True
        )
    moment = erasure.erase_user(sub=sub, now=now, reason=reason)
    wait_for_events(quiet=as_json)
    did = (
        "is erased"
        if now
        else f"is signed out everywhere and will be erased on {moment:%Y-%m-%d at %H:%M} UTC"
    )
    done(f"{address} {did}.", {"sub": sub, "erased": now, "erase_at": moment}, as_json=as_json)


@users_group.command("keep", help="Let an account stay that was about to be erased.")
@click.argument("email")
@command
def keep(email: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = erasure.keep_account(sub=user.sub)
    wait_for_events(quiet=as_json)
    sentence = f"The account of {user.email} stays." if changed else f"{user.email} was not to be erased."
    done(sentence, {"sub": user.sub, "changed": changed}, as_json=as_json)


def _line(user: User) -> dict[str, object]:
    return {
        "email": user.email,
        "name": user.name,
        "status": user.status,
        "roles": user.roles,
        "created_at": user.created_at,
        "sub": user.sub,
    }
