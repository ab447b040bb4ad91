"""`messages`: mail that was asked for, and how it left."""

import uuid
from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, plain, show, show_one
from libs.lists import gather
from services.notification.flows import messages, restoring
from services.notification.flows.search import UNDELIVERED, Wanted, search_messages
from services.notification.models import STATES, Message

messages_group = AppGroup("messages", help="Mail that was asked for, and how it left.")


@messages_group.command("list", help="The newest messages first.")
@click.option("--failed", is_flag=True, help="Only what is failed or parked: nothing more happens by itself.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--template", default="", help="Only this mail, such as activation_link.")
@click.option("--to", default="", help="Only to this address; ada* or ada: to those that begin so.")
@click.option("--correlation-id", default="", help="Only those that this number in the logs is about.")
@click.option("--message-id", default="", help="Only the one of this Message-ID.")
@click.option("--limit", type=LIMIT, default=50, show_default=True)
@command
def list_messages(
    failed: bool,
    state: str | None,
    template: str,
    to: str,
    correlation_id: str,
    message_id: str,
    limit: int,
    as_json: bool,
) -> None:
    if failed and state:
        raise click.UsageError("--failed and --state are two answers to one question.")
    wanted = Wanted(
        to=to,
        template=template,
        states=UNDELIVERED if failed else (state,) if state else (),
        correlation_id=correlation_id,
        header_id=message_id,
    )
    found = gather(lambda before, most: search_messages(wanted, before=before, limit=most), limit=limit)
    show([_row(message) for message in found.rows], as_json=as_json, empty="No messages.")
    if (held := restoring.count_held()) and not as_json:
        click.echo(f"{held} message(s) are held since a restore: messages release sends them.", err=True)


@messages_group.command("show", help="One message, its attempts and what came back; never its content.")
@click.argument("message_id", type=click.UUID, metavar="ID")
@command
def show_message(message_id: uuid.UUID, as_json: bool) -> None:
    message = messages.get_message(message_id)
    attempts: list[dict[str, Any]] = [
        {
            "number": attempt.number,
            "started_at": attempt.started_at,
            "duration_ms": attempt.duration_ms,
            "result": attempt.result or "under way",
            "answer": attempt.answer,
        }
        for attempt in message.attempts
    ]
    reports: list[dict[str, Any]] = [
        {
            "received_at": report.received_at,
            "type": report.type,
            "permanent": report.is_permanent,
            "detail": report.detail,
        }
        for report in message.reports
    ]
    values = _row(message) | {
        "message_id_header": message.header_id,
        "deduplication_key": message.deduplication_key,
        "asked_by": message.asked_by or None,
        "expires_at": message.expires_at,
        "sent_at": message.sent_at,
        "next_attempt_at": message.due_at if message.state in ("queued", "deferred") else None,
        "correlation_id": message.correlation_id,
    }
    if as_json:
        show_one(values | {"attempts": _plain(attempts), "reports": _plain(reports)}, as_json=True)
        return
    show_one(values, as_json=False)
    click.echo()
    show(attempts, as_json=False, empty="No attempts yet.")
    if reports:
        click.echo()
        show(reports, as_json=False)


@messages_group.command("retry", help="Queue messages again, as the same messages.")
@click.argument("message_ids", type=click.UUID, nargs=-1, metavar="ID...")
@click.option("--all-failed", is_flag=True, help="Whatever is failed or parked and can still be sent.")
@command
def retry_messages(message_ids: tuple[uuid.UUID, ...], all_failed: bool, as_json: bool) -> None:
    if bool(message_ids) == all_failed:
        raise click.UsageError("Name messages, or say --all-failed.")
    if all_failed:
        queued = sum(messages.retry_undelivered())
        done(f"Queued again: {queued}.", {"queued": queued}, as_json=as_json)
        return
    rows = []
    for message_id in message_ids:
        message = messages.retry(message_id=message_id)
        rows.append({"id": message.id, "state": message.state})
        if not as_json:
            click.echo(f"Message {message.id} is queued again.")
    if as_json:
        show(rows, as_json=True)


@messages_group.command("release", help="Send what is held since the database was restored.")
@click.option("--forget", is_flag=True, help="Delete it instead: it left before the restore.")
@command
def release_messages(forget: bool, as_json: bool) -> None:
    count = restoring.forget() if forget else restoring.release()
    verb = "Deleted" if forget else "Released"
    done(f"{verb}: {count} message(s) that were held.", {verb.lower(): count}, as_json=as_json)


def _row(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "created_at": message.created_at,
        "template": message.template,
        "recipient": message.recipient,
        "state": message.state,
        "reason": message.reason,
        "attempts": message.last_attempt,
    }


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: plain(value) for name, value in row.items()} for row in rows]
