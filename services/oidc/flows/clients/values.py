"""Settings as documents bring them (a file, a registration, an API): each value has its type, or is refused by name."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask_babel import lazy_gettext

from services.oidc.flows.clients.changing import usual
from services.oidc.flows.clients.metadata import BY_METADATA, BY_NAME, DEVICE_CODE, InvalidClient, Setting

MOST_JSON_CHARACTERS = 64 * 1024
LISTS = ("words", "uris", "choices")
SHORT_GRANTS = {"device_code": DEVICE_CODE}
"""What operators may write for a name that nobody remembers."""


def find_setting(name: str) -> Setting | None:
    """The setting of this name: ours, or its name in client metadata."""
    return BY_NAME.get(name) or BY_METADATA.get(name)


def read_settings(
    document: Mapping[str, Any], *, find: Callable[[str], Setting | None] = find_setting
) -> dict[str, Any]:
    """What a document says, by our names; null is what is usual.

    Raises InvalidClient for what is unknown to `find`, named twice or of a wrong type, under the document's own names.
    """
    found: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for name, value in document.items():
        setting = find(name)
        if setting is None:
            errors[name] = lazy_gettext("There is no such setting.")
        elif setting.name in found:
            errors[name] = lazy_gettext("This is %(name)s, which is there already.", name=setting.name)
        elif value is None:
            found[setting.name] = unset(setting)
        elif (error := type_error(setting, value)) is not None:
            errors[name] = error
        else:
            found[setting.name] = converted(setting, value)
    if errors:
        raise InvalidClient(errors=errors)
    return found


def unset(setting: Setting) -> Any:
    """The value of a setting that nothing is chosen for; None too for what has to be chosen."""
    return usual().get(setting.name)


def converted(setting: Setting, value: Any) -> Any:
    """A value of a right type as it is kept."""
    if setting.kind in LISTS:
        words = value.split() if isinstance(value, str) else list(value)
        return [SHORT_GRANTS.get(word, word) for word in words] if setting.name == "grants" else words
    return value


def type_error(setting: Setting, value: Any) -> Any:
    """What is wrong with the type of a value; None when nothing is."""
    if setting.kind in LISTS:
        if setting.name == "scopes" and isinstance(value, str):
            return None
        is_list = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return None if is_list else lazy_gettext("A list of texts.")
    if setting.kind == "flag":
        return None if isinstance(value, bool) else lazy_gettext("True or false.")
    if setting.kind == "number":
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return None if is_number else lazy_gettext("A number of seconds.")
    if setting.kind == "json":
        return None if is_storable_object(value) else lazy_gettext("An object of JSON that can be kept.")
    return None if isinstance(value, str) else lazy_gettext("A text, in quotes where it looks like a number.")


def is_storable_object(value: Any) -> bool:
    """Whether PostgreSQL can keep it: an object of bounded length, without NUL and half surrogate pairs."""
    if not isinstance(value, dict):
        return False
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return len(text) <= MOST_JSON_CHARACTERS and "\\u0000" not in text
