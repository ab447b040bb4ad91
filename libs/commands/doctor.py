"""`doctor`, and the way by which it can be asked where the settings are so broken that there is no app."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup

from libs.commands import keep_logs_apart
from libs.commands.secrets import HELP as HELP_OF_SECRETS
from libs.commands.secrets import generating
from libs.settings import ServiceSettings, SettingsError

HELP = "Read the settings, look at what they name, and say what is wrong or weak, with what helps. Exits 1 when wrong."
ORDER = ("wrong", "weak", "skipped", "fine")
CreateApp = Callable[..., Flask]


def with_doctor(kind: type[ServiceSettings], *looks: Any) -> Callable[[CreateApp], CreateApp]:
    """Give a service's create_app the command `doctor`, which makes these looks beside its own.

    Flask's command line makes the app before it looks for a command. Where the settings are refused it gets an app
    that is nothing but `doctor` and `secrets generate`; everything else ends in the sentence of the refusal, and
    whatever is no command line never sees that app.
    """

    def decorate(create: CreateApp) -> CreateApp:
        migrations = Path(str(sys.modules[create.__module__].__file__)).parent / "migrations"

        @functools.wraps(create)
        def create_app(settings: ServiceSettings | None = None) -> Flask:
            if settings is None and _looks_for_a_command():
                try:
                    settings = kind.load()
                except SettingsError as error:
                    return _bare_app(create.__module__, str(error), doctor)
            app = create(settings)
            app.cli.add_command(doctor)
            return app

        doctor = _doctor(kind, looks, migrations)
        return create_app

    return decorate


def _looks_for_a_command() -> bool:
    """Whether Flask's command line asks for the app to find a command in it, before any command runs."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def _doctor(kind: type[ServiceSettings], looks: Any, migrations: Path) -> click.Command:
    @click.command("doctor", help=HELP)
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def doctor(as_json: bool) -> None:
        from libs.doctor import examine

        keep_logs_apart()
        found = sorted(examine(kind, looks, migrations=migrations), key=lambda each: ORDER.index(each.state))
        is_wrong = any(each.state == "wrong" for each in found)
        if as_json:
            findings = [dataclasses.asdict(each) for each in found]
            click.echo(json.dumps({"ok": not is_wrong, "findings": findings}, indent=2, ensure_ascii=False))
        else:
            for each in found:
                click.echo(f"{each.state:8}{each.about}: {each.says}")
                if each.fix:
                    click.echo(f"{'':10}{each.fix}")
        if is_wrong:
            raise SystemExit(1)

    return doctor


class _Refusing(AppGroup):
    """Commands that need no settings; any other ends in the sentence that refuses them, as every process does."""

    def __init__(self, *, refusal: str, **options: Any):
        super().__init__(**options)
        self.refusal = refusal

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            sys.stderr.write(f"{self.refusal}\n")
            raise SystemExit(2)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        sys.stderr.write(f"{self.refusal}\n")
        return super().list_commands(ctx)


def _bare_app(import_name: str, refusal: str, doctor: click.Command) -> Flask:
    app = Flask(import_name, static_folder=None)
    cli = _Refusing(name=app.name, refusal=refusal)
    cli.add_command(doctor)
    cli.add_command(generating(_Refusing(name="secrets", help=HELP_OF_SECRETS, refusal=refusal)))
    app.cli = cli
    return app
