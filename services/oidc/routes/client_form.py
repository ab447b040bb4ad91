"""The form of a client's settings: made from SETTINGS, in groups, and read back so that nothing entered is lost."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext, lazy_gettext
from werkzeug.datastructures import MultiDict

from services.oidc.flows.clients import BY_NAME, SETTINGS, Setting
from services.oidc.flows.clients.documents import read_json
from services.oidc.flows.clients.values import LISTS
from services.oidc.flows.resources import offered_scopes

GROUPS: Sequence[tuple[Any, tuple[str, ...]]] = (
    (
        lazy_gettext("The app"),
        (
            *("name", "application_type", "client_uri", "logo_uri", "policy_uri", "tos_uri", "contacts"),
            *("software_id", "software_version"),
        ),
    ),
    (
        lazy_gettext("Signing in"),
        (
            *("redirect_uris", "post_logout_redirect_uris", "grants", "require_pkce", "initiate_login_uri"),
            *("default_max_age", "require_auth_time", "default_acr_values"),
        ),
    ),
    (lazy_gettext("What it may do"), ("scopes", "is_first_party", "allowed_roles")),
    (
        lazy_gettext("How it proves itself"),
        ("auth_method", "jwks", "jwks_uri", "token_endpoint_auth_signing_alg"),
    ),
    (
        lazy_gettext("Its requests"),
        (
            *("require_pushed_authorization_requests", "require_signed_request_object"),
            *("request_object_signing_alg", "request_uris"),
        ),
    ),
    (
        lazy_gettext("What it gets"),
        (
            *("subject_type", "sector_identifier_uri", "id_token_signed_response_alg"),
            *("userinfo_signed_response_alg", "access_token_format", "access_token_signing_alg"),
            *("rotate_refresh_tokens", "claims_mapping"),
        ),
    ),
    (
        lazy_gettext("Signing out"),
        (
            *("backchannel_logout_uri", "backchannel_logout_session_required"),
            *("frontchannel_logout_uri", "frontchannel_logout_session_required"),
        ),
    ),
)
APART = ("is_enabled",)
"""Has buttons of its own."""
BOXES = ("flag", "choices", "scopes")
"""What a browser says nothing about when nothing is ticked."""


@dataclass(frozen=True)
class Field:
    """A setting as the form shows it."""

    setting: Setting
    widget: str
    """lines, boxes, or the setting's kind."""
    value: Any
    """What stands in it: a text, a flag, or for boxes the words that are ticked."""
    options: Sequence[tuple[str, Any]]
    error: Any


def groups(entered: Mapping[str, Any], errors: Mapping[str, Any]) -> list[tuple[Any, list[Field]]]:
    """The form with what was entered, and what is wrong with it."""
    return [
        (title, [_field(BY_NAME[name], entered.get(name), errors.get(name)) for name in names])
        for title, names in _grouped()
    ]


def _grouped() -> list[tuple[Any, list[str]]]:
    """Every setting is in a group: one that nobody has sorted yet stands in the last."""
    sorted_ones = {name for _, names in GROUPS for name in names}
    others = [setting.name for setting in SETTINGS if setting.name not in {*sorted_ones, *APART}]
    found = [(title, list(names)) for title, names in GROUPS]
    return [*found, (gettext("More"), others)] if others else found


def in_groups(values: Mapping[str, Any]) -> list[tuple[Any, list[tuple[Setting, Any]]]]:
    """The settings of a client for whoever only looks."""
    return [(title, [(BY_NAME[name], values[name]) for name in names]) for title, names in _grouped()]


def _field(setting: Setting, value: Any, error: Any) -> Field:
    widget = setting.kind
    options: Sequence[tuple[str, Any]] = [(choice, choice) for choice in setting.choices]
    if setting.name == "scopes":
        widget = "boxes"
        offered = offered_scopes()
        # One that is not offered any more can be taken away here.
        gone = {scope: gettext("not offered any more") for scope in value or () if scope not in offered}
        options = list({**offered, **gone}.items())
    elif setting.kind == "choices":
        widget = "boxes"
    elif setting.kind in ("uris", "words"):
        widget = "lines"
    elif setting.kind == "choice" and setting.is_optional:
        options = [("", gettext("not chosen")), *options]
    return Field(setting=setting, widget=widget, value=value, options=options, error=error)


def as_entered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they would have been entered."""
    return {name: _written(BY_NAME[name], value) for name, value in values.items()}


def _written(setting: Setting, value: Any) -> Any:
    if setting.kind == "flag":
        return bool(value)
    if setting.kind == "choices" or setting.name == "scopes":
        return list(value)
    if setting.kind in LISTS:
        return "\n".join(value)
    if setting.kind == "json":
        return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    return "" if value is None else str(value)


def read(form: MultiDict[str, str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What was entered, the settings that this means, and what could not be understood, each by name.

    A setting that the form did not show is left out, and stays as it is.
    """
    entered: dict[str, Any] = {}
    values: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    shown = set(form.getlist("shown"))
    for setting in SETTINGS:
        name = setting.name
        if setting.kind in BOXES or name == "scopes":
            if name in shown:
                entered[name] = name in form if setting.kind == "flag" else form.getlist(name)
                values[name] = entered[name]
        elif name in form:
            entered[name] = form[name]
            try:
                values[name] = _read(setting, form[name])
            except ValueError:
                errors[name] = _misread(setting)
    return entered, values, errors


def _read(setting: Setting, text: str) -> Any:
    """Raises ValueError for what is no number or no JSON object."""
    text = text.strip()
    if setting.kind in LISTS:
        return list(_lines(text))
    if setting.kind == "number":
        return int(text) if text else None
    if setting.kind == "json":
        return _read_object(text) if text else (None if setting.is_optional else {})
    return text or (None if setting.is_optional else "")


def _lines(text: str) -> Iterable[str]:
    return filter(None, (line.strip() for line in text.splitlines()))


def _read_object(text: str) -> dict[str, Any]:
    try:
        found = read_json(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _misread(setting: Setting) -> Any:
    if setting.kind == "number":
        return gettext("A whole number of seconds.")
    return gettext("This is not JSON with braces around it.")
