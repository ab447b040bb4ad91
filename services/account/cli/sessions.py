"""`sessions`: where people are signed in, and ending it there."""

import uuid

import click
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, show, wait_for_events
from services.account.cli.grants import grants_in_words, wait_for_grants
from services.account.flows import sessions, users
from services.account.flows.revoking import revoke_access, revoke_everybody
from services.account.models import SignInSession, User

sessions_group = AppGroup("sessions", help="Where people are signed in.")


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
    have_ended = wait_for_grants(revoked)
    done(
        f"Ended {revoked.sessions} session(s) {whose}. {grants_in_words(have_ended)}",
        {"sessions_ended": revoked.sessions, "grants_ended": have_ended},
        as_json=as_json,
    )


@sessions_group.command("end", help="End one session of a person, and what lives by it.")
@click.argument("email")
@click.argument("sid", type=click.UUID)
@command
def end(email: str, sid: uuid.UUID, as_json: bool) -> None:
    revoked = sessions.end_session(sub=users.get_user(email=email).sub, sid=str(sid))
    wait_for_events(quiet=as_json)
    sentence = "Ended the session." if revoked.sessions else "The session had ended before."
    done(sentence, {"sid": sid, "ended": bool(revoked.sessions)}, as_json=as_json)


@sessions_group.command("clear-expired", help="Delete sessions that expired or ended long ago.")
@command
def clear_expired(as_json: bool) -> None:
    count = sessions.clear_expired_sessions(seconds=600)
    done(f"Deleted {count} session(s).", {"deleted": count}, as_json=as_json)
