"""The address that counts: the true one, as far as our own proxies vouch for it."""

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from flask import request

MAX_ADDRESS_LENGTH = 100
"""With a zone, an address of IPv6 may be longer than its 45 characters; what is longer still is none."""


class ClientAddress:
    """WSGI middleware: REMOTE_ADDR becomes the address that the outermost of our proxies saw.

    Each of our `hops` proxies appends one address to X-Forwarded-For, so only the last `hops` entries are
    ours to believe; what stands before them was sent from outside. Garbage there changes nothing.
    """

    def __init__(self, app: Callable[..., Any], hops: int):
        self.app, self.hops = app, hops

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.hops:
            entries = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
            if len(entries) >= self.hops:
                address = parse_address(entries[-self.hops])
                if address:
                    environ["REMOTE_ADDR"] = address
        return self.app(environ, start_response)


def parse_address(text: str) -> str | None:
    """The canonical form of an IP address, or None; IPv4 inside IPv6 is IPv4."""
    bare = text.strip().strip("[]")
    return _canonical(bare) if len(bare) <= MAX_ADDRESS_LENGTH else None


@lru_cache(2048)
def _canonical(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def parse_network(text: str) -> str | None:
    """The canonical form of a network or of one address, with its prefix length; None for neither.

    Bits beyond the prefix are cleared; IPv4 inside IPv6 is IPv4.
    """
    address, slash, length = text.strip().partition("/")
    whole = parse_address(address)
    if whole is None or (slash and not (length.isascii() and length.isdecimal())):
        return None
    bits = int(length[:4]) if slash else ipaddress.ip_address(whole).max_prefixlen
    if slash and ":" in address and ":" not in whole:
        bits -= 96
    try:
        return str(ipaddress.ip_network((whole, bits), strict=False))
    except ValueError:
        return None


def client_address() -> str:
    """The address of the person or client behind this request."""
    return parse_address(request.remote_addr or "") or "0.0.0.0"  # noqa: S104  a word for "unknown", not a bind
