"""Door 2: commands for the engineer on call."""

import dataclasses
import uuid
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from libs.commands import LIMIT, command, done, plain, show, show_one
from libs.service import parts_of
from libs.web.languages import DEFAULT, LANGUAGES
from services.notification.flows import messages
from services.notification.letters import LETTERS, letter_of
from services.notification.letters.letter import sample
from services.notification.models import Message
from services.notification.writing import write

messages_group = AppGroup("messages", help="Mail that was asked for, and how it left.")
templates_group = AppGroup("templates", help="The mails that this service writes.")


@messages_group.command("list", help="The newest messages first.")
@click.option("--failed", is_flag=True, help="Only those that nothing more happens to by itself.")
@click.option("--limit", type=LIMIT, default=50, show_default=True)
@command
def list_messages(failed: bool, limit: int, as_json: bool) -> None:
    rows = messages.list_messages(state="failed" if failed else None, limit=limit)
    show([_row(message) for message in rows], as_json=as_json, empty="No messages.")


@messages_group.command("show", help="One message and its attempts; never its content.")
@click.argument("message_id", type=click.UUID, metavar="ID")
@command
def show_message(message_id: uuid.UUID, as_json: bool) -> None:
    message = messages.get_message(message_id)
    attempts = [
        {
            "number": attempt.number,
            "started_at": attempt.started_at,
            "duration_ms": attempt.duration_ms,
            "result": attempt.result or "under way",
            "answer": attempt.answer,
        }
        for attempt in message.attempts
    ]
    values = _row(message) | {
        "message_id_header": message.header_id,
        "deduplication_key": message.deduplication_key,
        "expires_at": message.expires_at,
        "sent_at": message.sent_at,
        "next_attempt_at": message.due_at if message.state in ("queued", "deferred") else None,
        "correlation_id": message.correlation_id,
    }
    if as_json:
        attempts = [{name: plain(value) for name, value in attempt.items()} for attempt in attempts]
        show_one(values | {"attempts": attempts}, as_json=True)
        return
    show_one(values, as_json=False)
    click.echo()
    show(attempts, as_json=False, empty="No attempts yet.")


@messages_group.command("retry", help="Queue a failed message again.")
@click.argument("message_id", type=click.UUID, metavar="ID")
@command
def retry_message(message_id: uuid.UUID, as_json: bool) -> None:
    message = messages.retry(message_id=message_id)
    done(
        f"Message {message.id} is queued again.", {"id": message.id, "state": message.state}, as_json=as_json
    )


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


@templates_group.command("list", help="Every mail and what its request must bring.")
@command
def list_templates(as_json: bool) -> None:
    rows = [
        {
            "name": name,
            "context": [field.name for field in dataclasses.fields(letter)],
            "subject": _subject(name),
        }
        for name, letter in LETTERS.items()
    ]
    show(rows, as_json=as_json)


@templates_group.command("preview", help="A mail with invented content.")
@click.argument("name")
@click.option("--locale", type=click.Choice(list(LANGUAGES)), default=DEFAULT, show_default=True)
@click.option("--html", "as_html", is_flag=True, help="Its HTML instead of its text.")
@command
def preview_template(name: str, locale: str, as_html: bool, as_json: bool) -> None:
    mail = write(sample(letter_of(name), public_url=_public_url()), language=locale)
    if as_json:
        show_one({"subject": mail.subject, "text": mail.text, "html": mail.html}, as_json=True)
    elif as_html:
        click.echo(mail.html)
    else:
        click.echo(f"Subject: {mail.subject}\n\n{mail.text}")


def _subject(name: str) -> str:
    return write(sample(letter_of(name), public_url=_public_url()), language=DEFAULT).subject


def _public_url() -> str:
    url: str = parts_of(current_app).settings.PUBLIC_URL
    return url


COMMANDS = (messages_group, templates_group)
