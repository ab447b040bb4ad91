"""Shapes of what goes in and out, and the strict reading of what comes in."""

import json
from typing import Any

import marshmallow as ma
from flask import Request
from flask_babel import lazy_gettext
from webargs import missing
from webargs.flaskparser import FlaskParser, is_json_request

from libs.web.problems import Problem


def said(words: str, **more: Any) -> dict[str, Any]:
    """What the document says about a field; `more` are keywords of JSON Schema that the field does not imply."""
    return {"metadata": {"description": words, **more}}


class Shape(ma.Schema):
    """What goes out; more may be added to it. The docstring of a shape is its description in the document."""

    class Meta:
        unknown = ma.EXCLUDE


class Input(Shape):
    """What comes in; a member without a meaning here is refused, so that nothing is thought to be applied."""

    class Meta(Shape.Meta):
        unknown = ma.RAISE


class InvalidInput(Problem):
    """The request can be read, and something in it cannot be; `errors` says what by field."""

    status, slug, title = 422, "invalid-input", lazy_gettext("Some of this cannot be right")


class NotJSON(Problem):
    """The body says that it is JSON and is not."""

    status, slug, title = 400, "not-json", lazy_gettext("The body is not JSON")


class WrongMediaType(Problem):
    """The body is of another kind."""

    status, slug, title = 415, "unsupported-media-type", lazy_gettext("The body must be application/json")


class Parser(FlaskParser):
    """Reads what a request brings: JSON that says so, and no member or parameter that has no meaning here."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": ma.RAISE}

    def _raw_load_json(self, req: Request) -> Any:
        body = req.get_data(cache=True)
        if not body:
            return missing
        if not is_json_request(req):
            raise WrongMediaType
        try:
            return json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise NotJSON from error

    def handle_error(self, error: ma.ValidationError, *args: Any, **kwargs: Any) -> Any:
        messages: Any = error.messages
        raise InvalidInput(errors=_by_field(messages)) from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON (RFC 8259 §6)")


def _by_field(messages: dict[str, Any]) -> dict[str, str]:
    """webargs' {location: {field: [messages]}}, nested fields joined by dots; `_schema` is the whole."""
    found: dict[str, str] = {}

    def collect(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                own = name if key == "_schema" else f"{name}.{key}" if name else str(key)
                collect(own, inner)
        else:
            found[name or "body"] = " ".join(map(str, value if isinstance(value, list) else [value]))

    for by_field in messages.values():
        collect("", by_field)
    return found
