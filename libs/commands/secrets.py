"""`secrets`: fresh values, what the values of this service are (never they themselves), and re-encryption."""

import json
from collections.abc import Iterable
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from libs.commands import command, done, show
from libs.guard.secrets import fresh

HELP = "Secrets of this service: make fresh ones, compare them, bring data under a new key."


def generating(group: AppGroup) -> AppGroup:
    """Add the one command that needs no app: there may be no secrets yet to make one with."""

    @group.command(
        "generate", help="Print fresh values: all that a service needs, as lines of an environment file."
    )
    @click.option("--name", type=click.Choice(list(fresh.MAKERS)), help="Only this one, its value alone.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def generate(name: str | None, as_json: bool) -> None:
        values = {each: fresh.MAKERS[each]() for each in ([name] if name else fresh.NEEDED)}
        if as_json:
            click.echo(json.dumps(values, indent=2))
        elif name:
            click.echo(values[name])
        else:
            click.echo("\n".join(f"{each}={value}" for each, value in values.items()))

    return group


def secrets_group() -> AppGroup:
    group = generating(AppGroup("secrets", help=HELP))

    @group.command(
        "status",
        help="Each secret by its fingerprint, what each key of a ring still seals, and what does not fit together."
        " Exits 1 when something does not.",
    )
    @command
    def status(as_json: bool) -> None:
        from libs.guard.secrets.status import look
        from libs.service import parts_of

        found = look(parts_of(current_app))
        if as_json:
            click.echo(json.dumps({"secrets": found.rows, "disagreements": found.disagreements}, indent=2))
        else:
            show(found.rows, as_json=False)
            _say(found.disagreements)
        if found.disagreements:
            raise SystemExit(1)

    @group.command(
        "reencrypt",
        help="Seal under the first key of DATA_ENCRYPTION_KEYS what another one seals. May be cut short and run again.",
    )
    @click.option(
        "--batch", type=click.IntRange(1, 5000), default=200, show_default=True, help="Rows at a time."
    )
    @command
    def reencrypt(batch: int, as_json: bool) -> None:
        from libs.guard.secrets import rotation
        from libs.service import parts_of

        parts = parts_of(current_app)
        result = rotation.run(batch=batch, told=_tell)
        rows = rotation.rows_by_kid(parts)
        values: dict[str, Any] = {
            "key": parts.data_keys.first,
            "resealed": result.done,
            "left": result.left,
            "unopened": result.unopened.total(),
            "may_go": [kid for kid in list(parts.data_keys.keys)[1:] if not rows.get(kid)],
        }
        done(" ".join(_outcome(values)), values, as_json=as_json)
        if result.left or values["unopened"]:
            raise SystemExit(1)

    return group


def _tell(column: str, rows: int) -> None:
    click.echo(f"{column}: {rows} row(s) so far", err=True)


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        click.echo(sentence)


def _outcome(values: dict[str, Any]) -> Iterable[str]:
    yield f"Sealed {values['resealed']} row(s) anew under {values['key']}."
    if values["left"]:
        yield f"{values['left']} row(s) are held by somebody just now, or came meanwhile: run this again."
    if values["unopened"]:
        yield f"{values['unopened']} row(s) open under no key here: secrets status says which key is missing."
    if values["may_go"] and not values["left"]:
        yield (
            f"No row needs {', '.join(values['may_go'])} any more: it may leave DATA_ENCRYPTION_KEYS an hour after the"
            " last process began to seal with the new key."
        )
    elif not values["left"] and not values["unopened"]:
        yield "Every row is under it."
