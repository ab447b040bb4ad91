"""Safe redirects: only to paths of our own origin."""

import re
from urllib.parse import quote

from flask import request

_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
MAX_LENGTH = 4000


def safe_path(target: str | None, default: str = "/") -> str:
    """`target` when it is a plain path (and query) of ours, else `default`.

    Refuses what a browser could read as another origin: `//host`, `/\\host`, schemes, control characters.
    """
    if not target or len(target) > MAX_LENGTH or not target.startswith("/"):
        return default
    if target.startswith("//") or _UNSAFE.search(target):
        return default
    return target


def own_path(*, query: str | None = None) -> str:
    """This request's path, with its query or another one, in the form in which a browser may come back to it.

    Quoted again, since a `?`, `#` or backslash that came escaped is part of the path; and with one slash in
    front, since a browser reads two as another host.
    """
    path = "/" + quote(request.path, safe="/:@!$&'()*+,;=~").lstrip("/")
    query = request.query_string.decode("utf-8", "replace") if query is None else query
    return f"{path}?{query}" if query else path
