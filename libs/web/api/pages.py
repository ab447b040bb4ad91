"""Pages of a list: an opaque cursor says where the next begins, so that rows added meanwhile shift nothing."""

import base64
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import marshmallow as ma
from flask import request
from flask_babel import gettext
from marshmallow import fields, validate

from libs.web.api.shapes import Input, Shape
from libs.web.redirects import own_path

Item = TypeVar("Item")

MOST_PER_PAGE = 200


class Cursor(fields.Field[tuple[Any, ...]]):
    """Where a page begins: after the item with these keys. Opaque outside, so that the keys may change."""

    KINDS: dict[type, Callable[[str], Any]] = {
        int: int,
        str: str,
        uuid.UUID: uuid.UUID,
        datetime: datetime.fromisoformat,
    }

    def __init__(self, *kinds: type):
        super().__init__(metadata={"type": "string", "description": "`next` of the page before"})
        self.kinds = kinds

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[Any, ...]:
        try:
            keys = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
            return tuple(self.KINDS[kind](key) for kind, key in zip(self.kinds, keys, strict=True))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ma.ValidationError(gettext("This is not a cursor of ours.")) from error

    @staticmethod
    def write(keys: Sequence[Any]) -> str:
        text = json.dumps([key.isoformat() if isinstance(key, datetime) else str(key) for key in keys])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_query(*kinds: type, **more: fields.Field[Any]) -> type[ma.Schema]:
    """The query of a list whose order is that of keys of these kinds, with `more` parameters of its own."""
    return Input.from_dict(
        {
            **more,
            "cursor": Cursor(*kinds),
            "limit": fields.Integer(
                load_default=50,
                validate=validate.Range(1, MOST_PER_PAGE),
                metadata={"description": "Most items of the page"},
            ),
        }
    )


@cache
def page_schema(item: type[ma.Schema]) -> type[ma.Schema]:
    """One page of a list; a page without `next` is the last."""
    name = f"{item.__name__.removesuffix('Schema')}Page"
    return Shape.from_dict(
        {
            "items": fields.List(fields.Nested(item), required=True),
            "next": fields.String(
                required=True, allow_none=True, metadata={"description": "The cursor of the page after"}
            ),
        },
        name=name,
    )


def page(
    found: Sequence[Item], *, limit: int, keys: Callable[[Item], Sequence[Any]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The answer for a list of which `limit` + 1 items were looked for: body, and the Link of RFC 8288."""
    items = list(found[:limit])
    return part(items, goes_on=keys(items[-1]) if len(found) > limit else None)


def part(items: Sequence[Item], *, goes_on: Sequence[Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The same for a list that knows the keys after which it `goes_on`; None at its end.

    A part may hold fewer items than asked for, even none: the search for what is rare stops, and goes on from there.
    """
    if goes_on is None:
        return {"items": list(items), "next": None}, {}
    cursor = Cursor.write(goes_on)
    query = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    target = own_path(query=urlencode([*query, ("cursor", cursor)]))
    return {"items": list(items), "next": cursor}, {"Link": f'<{target}>; rel="next"'}
