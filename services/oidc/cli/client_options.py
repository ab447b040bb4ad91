"""Options of `clients create` and `clients update`: one for every setting that can be chosen, made from SETTINGS."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from services.oidc.flows import clients as flows
from services.oidc.flows.clients.documents import read_json
from services.oidc.flows.clients.values import LISTS, converted, find_setting, type_error, unset

OPTIONS = {
    "redirect_uris": "--redirect-uri",
    "post_logout_redirect_uris": "--post-logout-redirect-uri",
    "request_uris": "--request-uri",
    "grants": "--grant",
    "scopes": "--scope",
    "allowed_roles": "--allowed-role",
    "contacts": "--contact",
    "default_acr_values": "--default-acr-value",
    "application_type": "--native/--web",
    "require_pkce": "--pkce/--no-pkce",
    "rotate_refresh_tokens": "--rotate/--no-rotate",
    "is_first_party": "--first-party/--third-party",
    "is_enabled": "--enable/--disable",
}
"""Where an option is not just the setting's name with dashes."""
_BY_OPTION = {option.partition("/")[0].strip("-").replace("-", "_"): name for name, option in OPTIONS.items()}
SEVERAL = "May be given several times."
MORE = {
    "scopes": "Between quotes: separated by blanks.",
    "grants": f"{SEVERAL} Also: device_code.",
    "jwks": "JSON, @FILE, or - for stdin.",
    "claims_mapping": "JSON, @FILE, or - for stdin.",
    "application_type": "On a device: its loopback port may vary.",
    "require_pkce": "Without is weak, and for confidential clients alone.",
    "rotate_refresh_tokens": "A new one at each use.",
    "redirect_uris": SEVERAL,
    "post_logout_redirect_uris": SEVERAL,
    "request_uris": SEVERAL,
    "allowed_roles": SEVERAL,
    "contacts": SEVERAL,
    "default_acr_values": SEVERAL,
}
"""What a help text says beyond the words of the setting."""
LONGEST_FILE = 1024 * 1024


class JSONObject(click.ParamType):
    """An object of JSON: as it is, in a file, or from stdin."""

    name = "JSON|@FILE|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = value if value.lstrip().startswith("{") else read_text(value)
        try:
            found = read_json(text)
        except (ValueError, RecursionError):
            self.fail("This is no JSON.", param, ctx)
        if not isinstance(found, dict):
            self.fail("This is no object of JSON.", param, ctx)
        return found


def read_text(source: str) -> str:
    """What a file says, or stdin for `-`. Raises click.ClickException."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(LONGEST_FILE + 1)
        else:
            with Path(source.removeprefix("@")).open("rb") as file:
                data = file.read(LONGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{source} cannot be read: {type(error).__name__}.") from None
    if len(data) > LONGEST_FILE:
        raise click.ClickException(f"{source} is longer than a megabyte.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"{source} is not UTF-8 text.") from None


def setting_options(*, with_usual: bool) -> Callable[[Any], Any]:
    """Every setting as an option; its value arrives under the setting's name, None or () where it was not given."""

    def decorate(function: Any) -> Any:
        for setting in reversed(flows.SETTINGS):
            name = OPTIONS.get(setting.name) or "--" + setting.name.replace("_", "-")
            help_text = f"{setting.words}. {MORE.get(setting.name, '')}".replace("?.", "?").strip()
            usual = flows.USUAL.get(setting.name)
            if with_usual and usual not in (None, [], {}, False):
                shown = " ".join(usual) if isinstance(usual, list) else usual
                help_text += f"  [usually: {'yes' if usual is True else shown}]"
            options: dict[str, Any] = {"help": help_text, "default": None}
            if setting.kind == "flag" and "/" not in name:
                name += f"/--no-{name[2:]}"
            if setting.kind == "number":
                options["type"] = click.IntRange(min=0)
            elif setting.kind == "json":
                options["type"] = JSONObject()
            elif setting.kind == "choice" and "/" not in name:
                options["type"] = click.Choice(setting.choices)
            elif setting.kind in LISTS and setting.name != "scopes":
                options |= {"multiple": True}
            if with_usual and setting.name == "name":
                options["required"] = True
            function = click.option(name, setting.name, **options)(function)
        return function

    return decorate


def unset_option(function: Any) -> Any:
    return click.option(
        "--unset",
        "cleared",
        multiple=True,
        metavar="NAME",
        help="A setting to go back to what is usual, by its name (logo-uri). May be given several times.",
    )(function)


def chosen(options: Mapping[str, Any], cleared: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that were given, by name. Raises InvalidClient for values of a wrong type."""
    found: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for name, value in options.items():
        setting = flows.BY_NAME[name]
        if value is None or value == ():
            continue
        if name == "application_type":
            value = "native" if value else "web"
        if (error := type_error(setting, value)) is not None:
            errors[name] = error
        else:
            found[name] = converted(setting, value)
    if errors:
        raise flows.InvalidClient(errors=errors)
    for word in cleared:
        name = word.strip("-").replace("-", "_")
        found_setting = find_setting(_BY_OPTION.get(name, name))
        if found_setting is None:
            raise click.UsageError(f"--unset {word}: there is no such setting.")
        if not found_setting.is_optional and unset(found_setting) is None:
            raise click.UsageError(f"--unset {word}: this has to be chosen.")
        if found_setting.name in found:
            raise click.UsageError(f"--unset {word}: it is set, too.")
        found[found_setting.name] = unset(found_setting)
    return found
