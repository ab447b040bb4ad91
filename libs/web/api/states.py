"""States of a thing and their ETags: a change says which state it was made for (RFC 9110 §13.1.1)."""

import re
from collections.abc import Collection
from typing import TypeVar

from flask import request
from flask_babel import lazy_gettext

from libs.web.problems import Problem

Item = TypeVar("Item")


class NoPrecondition(Problem):
    """An update that does not say which state it changes could undo somebody else's."""

    status, slug, title = 428, "precondition-required", lazy_gettext("Say with If-Match what you change")


def tagged(body: Item, version: int) -> tuple[Item, dict[str, str]]:
    """The answer that shows the state of this version, and nothing that changes without it."""
    return body, {"ETag": f'"{version}"'}


def expected_versions() -> Collection[int] | None:
    """The versions that If-Match accepts; None for any. Raises NoPrecondition where nothing is said."""
    if not request.headers.get("If-Match"):
        raise NoPrecondition
    if request.if_match.star_tag:
        return None
    # An empty tag (`""`) is read as None.
    return [int(tag) for tag in request.if_match.as_set() if tag and re.fullmatch(r"[0-9]{1,9}", tag)]
