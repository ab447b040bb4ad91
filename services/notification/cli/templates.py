"""`templates`: the mails that this service writes."""

import dataclasses

import click
from flask import current_app
from flask.cli import AppGroup

from libs.commands import command, show, show_one
from libs.service import parts_of
from libs.web.languages import DEFAULT, LANGUAGES
from services.notification.letters import LETTERS, letter_of
from services.notification.letters.letter import sample
from services.notification.writing import Mail, write

templates_group = AppGroup("templates", help="The mails that this service writes.")


@templates_group.command("list", help="Every mail and what its request must bring.")
@command
def list_templates(as_json: bool) -> None:
    rows = [
        {
            "name": name,
            "context": [field.name for field in dataclasses.fields(letter)],
            "subject": _mail(name, DEFAULT).subject,
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
    mail = _mail(name, locale)
    if as_json:
        show_one({"subject": mail.subject, "text": mail.text, "html": mail.html}, as_json=True)
    elif as_html:
        click.echo(mail.html)
    else:
        click.echo(f"Subject: {mail.subject}\n\n{mail.text}")


def _mail(name: str, language: str) -> Mail:
    public_url = parts_of(current_app).settings.PUBLIC_URL
    return write(sample(letter_of(name), public_url=public_url), language=language)
