"""Commands of account: people, their sessions, the limits that hold them up."""

import dataclasses
import secrets
import string
import sys
import time
from datetime import timedelta

import click
from flask import current_app
from flask.cli import AppGroup

from libs.commands import DURATION, LIMIT, command, done, plain, show, show_one, wait_for_events
from libs.service import parts_of
from libs.web.client_address import parse_address
from services.account.cli_login import blocks_group, login_events, login_failures
from services.account.extensions import db, outbox
from services.account.flows import erasure, limits, search, sessions, users
from services.account.flows.lists import gather
from services.account.flows.overview import look_at
from services.account.flows.revoking import Revoked, revoke_access, revoke_everybody
from services.account.flows.second_factor import reset_second_factor
from services.account.flows.securing import secure_account
from services.account.flows.staff_rule import is_second_factor_required, require_second_factor_of_staff
from services.account.models import ROLES, SignInSession, User

GRANTS_WAIT_S = 5.0
LONGEST_ENHANCED = timedelta(days=7)
PASSWORD_SIGNS = string.ascii_letters + string.digits

users_group = AppGroup("users", help="People and what they may do.")
role_group = AppGroup("role", help="Give roles and take them away.")
sessions_group = AppGroup("sessions", help="Where people are signed in.")
ratelimits_group = AppGroup("ratelimits", help="Rate limits that hold now.")
users_group.add_command(role_group)
COMMANDS = (users_group, sessions_group, ratelimits_group, blocks_group, login_events, login_failures)


# -- users -----------------------------------------------------------------------------------------------------


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
    "create", help="Open an account. Without a password option one is invented and printed once."
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
    as_json: bool,
) -> None:
    invented = None
    if password_stdin:
        password = _first_line()
    elif password_prompt:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = invented = "".join(secrets.choice(PASSWORD_SIGNS) for _ in range(20))
    user = users.create_user(
        email=email,
        name=name or email.partition("@")[0],
        locale=locale,
        roles=[*roles, *(["admin"] if admin else [])],
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


@users_group.command(
    "secure",
    help="End every session and grant, make the password unusable, keep second factors, and mail a reset link.",
)
@click.argument("email")
@click.option("--reason", help="Why, for the audit.")
@command
def secure(email: str, reason: str | None, as_json: bool) -> None:
    user = users.get_user(email=email)
    secured = secure_account(sub=user.sub, reason=reason)
    have_ended = _wait_for_grants(secured.revoked)
    mailed = (
        "A link that sets a new password is on its way to them."
        if secured.is_mailed
        else "No link was mailed: the account is disabled."
    )
    done(
        f"{user.email} is secured: ended {secured.revoked.sessions} session(s), and no password opens the account. "
        f"{_grants_in_words(have_ended)} {mailed}",
        {
            "sub": user.sub,
            "sessions_ended": secured.revoked.sessions,
            "grants_ended": have_ended,
            "link_mailed": secured.is_mailed,
        },
        as_json=as_json,
    )


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


@role_group.command("add", help="Give a role: admin, reviewer or support.")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
@command
def add_role(email: str, role: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.add_role(sub=user.sub, role=role)
    wait_for_events(quiet=as_json)
    sentence = f"{user.email} is {role} now." if changed else f"{user.email} was {role} before."
    _say_roles(user, sentence, changed, as_json)


@role_group.command("remove", help="Take a role away; access tokens that carry it die.")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
@command
def remove_role(email: str, role: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.remove_role(sub=user.sub, role=role)
    wait_for_events(quiet=as_json)
    sentence = f"{user.email} is not {role} any more." if changed else f"{user.email} was not {role}."
    _say_roles(user, sentence, changed, as_json)


def _say_roles(user: User, sentence: str, changed: bool, as_json: bool) -> None:
    roles = users.get_user(sub=user.sub).roles
    done(sentence, {"sub": user.sub, "roles": roles, "changed": changed}, as_json=as_json)


def _line(user: User) -> dict[str, object]:
    return {
        "email": user.email,
        "name": user.name,
        "status": user.status,
        "roles": user.roles,
        "created_at": user.created_at,
        "sub": user.sub,
    }


@users_group.command(
    "reset-second-factor", help="Remove a person's second factors; they are signed out and told."
)
@click.argument("email")
@click.option("--reason", required=True, help="Why, for the audit.")
@command
def reset_factors(email: str, reason: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    removed = reset_second_factor(sub=user.sub, reason=reason)
    wait_for_events(quiet=as_json)
    app = "an authenticator app" if removed.totp else "no authenticator app"
    sentence = (
        f"Removed {app}, {removed.recovery_codes} recovery code(s) and {removed.passkeys} passkey(s) of "
        f"{user.email}, who is signed out everywhere and told by mail."
    )
    if removed.kept_passkeys:
        sentence += f" {removed.kept_passkeys} passkey(s) stay: nothing else signs them in."
    done(sentence, {"sub": user.sub, **dataclasses.asdict(removed)}, as_json=as_json)


@users_group.command(
    "second-factor-for-staff", help="Whether staff need a second factor: require, optional, or show."
)
@click.argument("rule", type=click.Choice(["require", "optional", "show"]))
@command
def second_factor_for_staff(rule: str, as_json: bool) -> None:
    if rule == "show":
        required = is_second_factor_required()
        word = "required" if required else "optional"
        done(f"A second factor is {word} for staff.", {"required": required}, as_json=as_json)
        return
    required = rule == "require"
    people = require_second_factor_of_staff(required=required)
    wait_for_events(quiet=as_json)
    word = "required" if required else "optional"
    sentence = f"A second factor is {word} for staff from now on; that changed {people} account(s)."
    done(sentence, {"required": required, "people": people}, as_json=as_json)


# -- sessions --------------------------------------------------------------------------------------------------


@sessions_group.command("list", help="Live sessions, last used first; of one person or of everybody.")
@click.argument("email", required=False)
@click.option("--limit", type=LIMIT, default=100, show_default=True)
@command
def list_sessions(email: str | None, limit: int, as_json: bool) -> None:
    sub = users.get_user(email=email).sub if email else None
    if sub is not None:
        sessions.fold_uses(sub=sub)
    rows = [_session_line(row, user) for row, user in sessions.list_sessions(sub=sub, limit=limit)]
    show(rows, as_json=as_json, empty="No sessions.")


def _session_line(row: SignInSession, user: User) -> dict[str, object]:
    return {
        "email": user.email,
        "created_at": row.created_at,
        "last_seen_at": row.last_seen_at,
        "amr": row.amr,
        "ip": row.ip,
        "country": row.country,
        "user_agent": row.user_agent,
        "sid": row.id,
    }


@sessions_group.command("revoke", help="End every session and grant of a person, or of everybody with --all.")
@click.argument("email", required=False)
@click.option("--all", "everybody", is_flag=True, help="Of everybody: people and apps must sign in again.")
@command
def revoke(email: str | None, everybody: bool, as_json: bool) -> None:
    if bool(email) == everybody:
        raise click.UsageError("Name one person, or say --all.")
    if email:
        revoked = revoke_access(sub=users.get_user(email=email).sub, cause="sessions_revoked")
        whose = f"of {email}"
    else:
        revoked = revoke_everybody()
        whose = "of everybody"
    have_ended = _wait_for_grants(revoked)
    done(
        f"Ended {revoked.sessions} session(s) {whose}. {_grants_in_words(have_ended)}",
        {"sessions_ended": revoked.sessions, "grants_ended": have_ended},
        as_json=as_json,
    )


def _grants_in_words(have_ended: bool) -> str:
    if have_ended:
        return "Their grants have ended too."
    return "Their grants have not ended yet: the issuer has not confirmed; it will be told until it does."


def _wait_for_grants(revoked: Revoked) -> bool:
    """Whether the issuer has confirmed, waiting for it at most GRANTS_WAIT_S."""
    deadline = time.monotonic() + GRANTS_WAIT_S
    while True:
        with db.transaction():
            waiting = outbox.waiting(revoked.event_ids)
        if not waiting or time.monotonic() > deadline:
            return not waiting
        time.sleep(0.05)


@sessions_group.command("clear-expired", help="Delete sessions that expired or ended long ago.")
@command
def clear_expired(as_json: bool) -> None:
    count = sessions.clear_expired_sessions(seconds=600)
    done(f"Deleted {count} session(s).", {"deleted": count}, as_json=as_json)


# -- rate limits -----------------------------------------------------------------------------------------------


@ratelimits_group.command("list", help="Counts that hold now, of everybody or of one address or person.")
@click.option("--ip", help="An IP address.")
@click.option("--user", "email", help="An e-mail address, or a client id.")
@command
def list_limits(ip: str | None, email: str | None, as_json: bool) -> None:
    ip, user = _whose(ip, email)
    show(limits.list_limits(ip=ip, user=user), as_json=as_json, empty="No limit is counting.")
    ends_at = parts_of(current_app).enhanced.ends_at()
    if ends_at and not as_json:
        click.echo(f"Enhanced mode is on until {plain(ends_at)}.")


@ratelimits_group.command(
    "reset",
    help="Forget the counts and waits of one address and its network, or of one person, in all services.",
)
@click.option("--ip", help="An IP address.")
@click.option("--user", "email", help="An e-mail address, or a client id.")
@command
def reset_limits(ip: str | None, email: str | None, as_json: bool) -> None:
    ip, user = _whose(ip, email)
    if bool(ip) == bool(user):
        raise click.UsageError("Name an address with --ip or a person with --user.")
    keys = limits.reset_limits(ip=ip, user=user)
    done(f"Forgot {len(keys)} count(s).", {"reset": len(keys)}, as_json=as_json)


@ratelimits_group.command(
    "enhance",
    help="Tighten sign-in, registration and token limits to a quarter, in all services within a second, and ask for a "
    "code by mail on browsers that are not known. Ends by itself.",
)
@click.option("--for", "life", type=DURATION, default="1h", show_default=True, help="How long; at most 7d.")
@command
def enhance(life: timedelta, as_json: bool) -> None:
    if life > LONGEST_ENHANCED:
        raise click.UsageError("Seven days are the most: say it again when they are over.")
    ends_at = limits.enhance_limits(life=life)
    done(f"Limits are enhanced until {plain(ends_at)}.", {"enhanced_until": ends_at}, as_json=as_json)


@ratelimits_group.command("relax", help="End enhanced mode before its time.")
@command
def relax(as_json: bool) -> None:
    changed = limits.relax_limits()
    sentence = "Limits are as usual again." if changed else "Limits were not enhanced."
    done(sentence, {"changed": changed}, as_json=as_json)


def _whose(ip: str | None, email: str | None) -> tuple[str | None, str | None]:
    """The forms under which limits are counted. Raises click.UsageError."""
    if ip:
        address = parse_address(ip)
        if address is None:
            raise click.UsageError(f"{ip} is not an IP address.")
        ip = address
    return ip, users.normalise_email(email) if email else None
