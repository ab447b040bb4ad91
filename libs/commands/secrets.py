"""`secrets`: fresh values, what this service's are (never they themselves), their turns, and re-encryption."""

import base64
import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup

from libs.commands import command, done, show
from libs.guard.secrets import fresh, strength

if TYPE_CHECKING:
    from libs.guard.secrets.rings import Ring

TURNING = click.Choice(["SECRET_KEY", *strength.RINGS])
HELP = (
    "Secrets of this service: make fresh ones, compare them, let them take turns, bring data under a new key."
)


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

    _add_turns(group)
    _add_logins(group)
    return group


def _add_turns(group: AppGroup) -> None:
    """Each reads the ring from stdin, as `kubectl get secret` gives it, and prints a patch of the Secret, as JSON."""

    @group.command("add", help="Put a fresh key at the end of a ring: it is understood, and not used yet.")
    @click.argument("setting", type=TURNING)
    @command
    def add(setting: str, as_json: bool) -> None:
        def step(ring: "Ring", known: "Ring") -> tuple["Ring", str]:
            turned = ring.with_new()
            return (
                turned,
                f"The new key of {setting} is understood, and not used yet. Its name: KEY={turned.names[-1]}",
            )

        _turn(setting, step)

    @group.command("promote", help="Put a key in front, from where it is used. Once more, nothing changes.")
    @click.argument("setting", type=TURNING)
    @click.argument("key")
    @command
    def promote(setting: str, key: str, as_json: bool) -> None:
        def step(ring: "Ring", known: "Ring") -> tuple["Ring", str]:
            turned = ring.promoted(key, known=known)
            if turned == ring:
                return ring, f"{key} is in front of {setting} already: nothing changes."
            return turned, f"{key} is in front of {setting}; {', '.join(turned.names[1:])} is understood."

        _turn(setting, step)

    @group.command("trim", help="Leave the key in front alone.")
    @click.argument("setting", type=TURNING)
    @command
    def trim(setting: str, as_json: bool) -> None:
        def step(ring: "Ring", known: "Ring") -> tuple["Ring", str]:
            turned = ring.trimmed(known=known)
            if turned == ring:
                return ring, f"{setting} has one key alone: nothing changes."
            return turned, f"{turned.names[0]} stays in {setting}; {', '.join(ring.names[1:])} goes."

        _turn(setting, step)

    @group.command(
        "settled",
        help="Whether everything of this service is under that key, so that the others of its ring may leave."
        " Exits 1 when it is not, and says why.",
    )
    @click.argument("setting", type=TURNING)
    @click.argument("key")
    @command
    def settled(setting: str, key: str, as_json: bool) -> None:
        import redis

        from libs.guard.secrets.status import objections
        from libs.service import parts_of

        try:
            found = objections(parts_of(current_app), setting, key)
        except redis.RedisError as error:
            raise click.ClickException(
                f"Redis did not answer ({type(error).__name__}): workers could not be asked."
            ) from None
        if found:
            raise click.ClickException(" ".join(found))
        service = parts_of(current_app).name
        done(
            f"{service} needs no key of {setting} but {key}.",
            {"setting": setting, "key": key},
            as_json=as_json,
        )


def _turn(setting: str, step: "Callable[[Ring, Ring], tuple[Ring, str]]") -> None:
    """Stdout is for the Secret, stderr for whoever looks."""
    from libs.guard.secrets.rings import CannotTurn, Ring
    from libs.service import parts_of

    try:
        ring = Ring.read(setting, sys.stdin.read())
        turned, sentence = step(ring, Ring.of(parts_of(current_app).settings, setting))
    except CannotTurn as refusal:
        raise click.ClickException(str(refusal)) from None
    click.echo(sentence, err=True)
    click.echo(json.dumps(turned.as_patch()))


def _add_logins(group: AppGroup) -> None:
    @group.command(
        "next-login",
        help="Of a password on stdin: a patch of the Secret by which this service uses another login to its database.",
    )
    @click.option("--sql", is_flag=True, help="What makes that login, for PostgreSQL's administrator.")
    @command
    def next_login(sql: bool, as_json: bool) -> None:
        from libs.guard.secrets import logins
        from libs.guard.secrets.rings import CannotTurn
        from libs.service import parts_of

        password = sys.stdin.read().strip()
        if len(password) < strength.MIN_SECRET_LENGTH:
            raise click.ClickException(
                "No password came by stdin: secrets generate --name PASSWORD makes one."
            )
        parts = parts_of(current_app)
        settings = parts.settings
        with parts.db.engine.connect() as connection:
            login = logins.next_login(connection, password)
            if sql:
                statements = list(logins.statements(connection, password))
                click.echo(f"The next login is {login}.", err=True)
                done("\n".join(statements), {"login": login, "statements": statements}, as_json=as_json)
                return
            owner = connection.execute(sa.text("SELECT current_user")).scalar_one()
        try:
            logins.try_login(settings, login, password, owner=owner)
        except CannotTurn as refusal:
            raise click.ClickException(str(refusal)) from None
        click.echo(f"{login} works, and acts as {owner}.", err=True)
        address = logins.address(settings, login, password)
        click.echo(json.dumps({"stringData": {settings.database_variable(): address}}))

    @group.command(
        "close-logins",
        help="Of the address that the Secret holds, on stdin in base64: SQL that closes the logins used before it.",
    )
    @command
    def close_logins(as_json: bool) -> None:
        from libs.guard.secrets import logins
        from libs.guard.secrets.rings import CannotTurn
        from libs.service import parts_of

        try:
            text = base64.b64decode(sys.stdin.read(), validate=True).decode()
            kept = sa.make_url(text).username or ""
        except (ValueError, sa.exc.ArgumentError):
            raise click.ClickException("What came by stdin is no address of a Secret.") from None
        with parts_of(current_app).db.engine.connect() as connection:
            try:
                found = list(logins.closings(connection, kept))
            except CannotTurn as refusal:
                raise click.ClickException(str(refusal)) from None
        click.echo(f"{kept}: stays.", err=True)
        for closing in found:
            click.echo(closing.says, err=True)
        statements = [closing.statement for closing in found if closing.statement]
        done("\n".join(statements), {"kept": kept, "statements": statements}, as_json=as_json)


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
