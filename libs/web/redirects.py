"""Safe redirects: only to paths of our own origin."""

import re

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
