"""`users secure` and the like: an account is closed to everybody but its owner, and its owner is let back in."""

import dataclasses

import click

from libs.commands import command, done, wait_for_events
from services.account.cli.grants import grants_in_words, wait_for_grants
from services.account.flows import users
from services.account.flows.password_links import send_password_link
from services.account.flows.second_factor import reset_second_factor
from services.account.flows.securing import secure_account


@click.command(
    "secure",
    help="End every session and grant, make the password unusable, keep second factors, and mail a reset link.",
)
@click.argument("email")
@click.option("--reason", help="Why, for the audit.")
@command
def secure(email: str, reason: str | None, as_json: bool) -> None:
    user = users.get_user(email=email)
    secured = secure_account(sub=user.sub, reason=reason)
    have_ended = wait_for_grants(secured.revoked)
    mailed = (
        "A link that sets a new password is on its way to them."
        if secured.is_mailed
        else "No link was mailed: the account is disabled."
    )
    done(
        f"{user.email} is secured: ended {secured.revoked.sessions} session(s), and no password opens the account. "
        f"{grants_in_words(have_ended)} {mailed}",
        {
            "sub": user.sub,
            "sessions_ended": secured.revoked.sessions,
            "grants_ended": have_ended,
            "link_mailed": secured.is_mailed,
        },
        as_json=as_json,
    )


@click.command(
    "send-password-link", help="Mail a person the link that sets their password; earlier ones end."
)
@click.argument("email")
@click.option("--reason", help="Why, for the audit.")
@command
def send_link(email: str, reason: str | None, as_json: bool) -> None:
    user = users.get_user(email=email)
    purpose = send_password_link(sub=user.sub, reason=reason)
    wait_for_events(quiet=as_json)
    sentence = f"A link that sets a password is on its way to {user.email}."
    done(sentence, {"sub": user.sub, "purpose": purpose}, as_json=as_json)


@click.command("reset-second-factor", help="Remove a person's second factors; they are signed out and told.")
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
