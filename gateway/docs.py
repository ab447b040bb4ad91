"""/docs and /openapi.json: the APIs of the whole suite in one document, and a page for people made of it.

`make openapi` writes the document from those of the services; it is a file of the release, so that the gateway
needs none of them to show it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, render_template, request

from libs.people.access import public

DOCUMENT = Path(__file__).with_name("openapi.json")
FOR_A_WHILE = "public, max-age=300"
METHODS = ("get", "post", "put", "patch", "delete")

bp = Blueprint("docs", __name__)


@bp.get("/openapi.json")
@public
def document() -> Response:
    """The document as it is, for programs."""
    response = Response(_text(), content_type="application/json", headers={"Cache-Control": FOR_A_WHILE})
    response.add_etag()
    response.make_conditional(request)
    return response


@bp.get("/docs")
@public
def page() -> str:
    """The same for people."""
    whole = _document()
    return render_template(
        "docs.html",
        info=whole["info"],
        scopes=_scopes(whole),
        chapters=_chapters(whole),
        shapes=_shapes(whole),
    )


@cache
def _text() -> bytes:
    return DOCUMENT.read_bytes()


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_text())
    return found


# -- one document of many ----------------------------------------------------------------------------------------


def merge(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of several. Raises ValueError where two say different things under one name."""

    def join(into: dict[str, Any], more: Mapping[str, Any], place: str) -> None:
        for name, value in more.items():
            if name not in into:
                into[name] = value
            elif isinstance(value, dict):
                join(into[name], value, f"{place}/{name}")
            elif isinstance(value, list) and name == "tags":
                into[name] = [*into[name], *(tag for tag in value if tag not in into[name])]
            elif into[name] != value:
                raise ValueError(f"Two services say different things at {place}/{name}.")

    merged: dict[str, Any] = {}
    for each in documents:
        join(merged, json.loads(json.dumps(each)), "")
    return {name: merged[name] for name in ("openapi", "info", "servers", "tags", "paths", "components")}


def written(whole: Mapping[str, Any]) -> str:
    """The text of the file."""
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.docs", description="Merge OpenAPI documents.")
    parser.add_argument(
        "documents", nargs="+", type=Path, help="what `flask openapi write` of a service wrote"
    )
    arguments = parser.parse_args()
    try:
        whole = merge(json.loads(path.read_text(encoding="utf-8")) for path in arguments.documents)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    DOCUMENT.write_text(written(whole), encoding="utf-8")
    return 0


# -- what the page shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A parameter, a header, or a member of a shape."""

    name: str
    place: str
    kind: str
    shape: str | None
    """The shape that `kind` names, for a link."""
    is_required: bool
    about: str


@dataclass(frozen=True)
class Answer:
    """What may come back."""

    status: str
    about: str
    kind: str | None
    shape: str | None
    headers: tuple[Member, ...]


@dataclass(frozen=True)
class Operation:
    """A method on a path."""

    anchor: str
    method: str
    path: str
    summary: str
    about: str
    scope: str | None
    role: str | None
    max_age: int | None
    """How many seconds ago a person may have signed in."""
    parameters: tuple[Member, ...]
    body: Member | None
    answers: tuple[Answer, ...]
    errors: tuple[Answer, ...]


@dataclass(frozen=True)
class Chapter:
    """The operations on one kind of thing."""

    name: str
    about: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Shape:
    """What a body looks like."""

    name: str
    about: str
    members: tuple[Member, ...]


def _chapters(whole: Mapping[str, Any]) -> list[Chapter]:
    return [
        Chapter(
            tag["name"],
            tag["description"],
            tuple(
                _operation(whole, path, method, operations)
                for path, operations in whole["paths"].items()
                for method in METHODS
                if tag["name"] in operations.get(method, {}).get("tags", ())
            ),
        )
        for tag in whole["tags"]
    ]


def _operation(whole: Mapping[str, Any], path: str, method: str, operations: Mapping[str, Any]) -> Operation:
    found = operations[method]
    scopes = [scope for each in found.get("security", ()) for scope in each.get("oauth2", ())]
    parameters = [
        _resolved(whole, each) for each in (*operations.get("parameters", ()), *found.get("parameters", ()))
    ]
    answers = [_answer(whole, status, _resolved(whole, each)) for status, each in found["responses"].items()]
    return Operation(
        anchor=found["operationId"],
        method=method.upper(),
        path=path,
        summary=found["summary"].removesuffix("."),
        about=found.get("description", ""),
        scope=scopes[0] if scopes else None,
        role=found.get("x-role"),
        max_age=found.get("x-max-age"),
        parameters=tuple(
            _member(
                each["name"],
                each["schema"],
                place=each["in"],
                is_required=each.get("required", False),
                about=each.get("description", ""),
            )
            for each in parameters
        ),
        body=_body(found["requestBody"]) if "requestBody" in found else None,
        answers=tuple(each for each in answers if each.status < "400"),
        errors=tuple(each for each in answers if each.status >= "400"),
    )


def _body(found: Mapping[str, Any]) -> Member:
    (kind, content), *_ = found["content"].items()
    return _member(kind, content["schema"], place="body", is_required=found.get("required", False))


def _answer(whole: Mapping[str, Any], status: str, found: Mapping[str, Any]) -> Answer:
    schema = next((content["schema"] for content in found.get("content", {}).values()), None)
    headers = {name: _resolved(whole, each) for name, each in found.get("headers", {}).items()}
    return Answer(
        status=status,
        about=found["description"],
        kind=_kind(schema) if schema else None,
        shape=_shape_of(schema) if schema else None,
        headers=tuple(
            _member(
                name, each["schema"], place="header", is_required=False, about=each.get("description", "")
            )
            for name, each in headers.items()
        ),
    )


def _shapes(whole: Mapping[str, Any]) -> list[Shape]:
    return [
        Shape(
            name,
            schema.get("description", ""),
            tuple(
                _member(
                    member,
                    each,
                    place="",
                    is_required=member in schema.get("required", ()),
                    about=each.get("description", ""),
                )
                for member, each in schema.get("properties", {}).items()
            ),
        )
        for name, schema in sorted(whole["components"]["schemas"].items())
    ]


def _scopes(whole: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = whole["components"]["securitySchemes"]["oauth2"]["flows"]["authorizationCode"][
        "scopes"
    ]
    return found


def _member(
    name: str, schema: Mapping[str, Any], *, place: str, is_required: bool, about: str = ""
) -> Member:
    return Member(name, place, _kind(schema), _shape_of(schema), is_required, about)


def _resolved(whole: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `$ref` points at."""
    if "$ref" not in value:
        return value
    found: Any = whole
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in the words of JSON, the same in every language."""
    if shape := _shape_of(schema):
        if "anyOf" in schema:
            return f"{shape} | null"
        return f"{shape}[]" if schema.get("type") == "array" else shape
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    types = schema.get("type", "object")
    names = types if isinstance(types, list) else [types]
    words = []
    for name in names:
        if name == "array":
            words.append(f"({inner})[]" if "|" in (inner := _kind(schema["items"])) else f"{inner}[]")
        else:
            words.append(f"{name} ({schema['format']})" if "format" in schema and name == "string" else name)
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return ", ".join([" | ".join(words), *bounds])


_BOUNDS = {"minimum": "≥", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤"}


def _shape_of(schema: Mapping[str, Any]) -> str | None:
    for one in schema.get("anyOf", ()):  # a shape, or null
        if shape := _shape_of(one):
            return shape
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
    return match[1] if (match := re.fullmatch(r"#/components/schemas/(\w+)", reference)) else None


if __name__ == "__main__":
    sys.exit(main())
