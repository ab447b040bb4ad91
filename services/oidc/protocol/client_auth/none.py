"""none: a public client names itself and proves nothing; PKCE and rotation protect what it holds."""

from collections.abc import Callable
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Request


def is_used(request: OAuth2Request) -> bool:
    """Never told from what a request holds: it is what remains when no other method was used."""
    return False


def authenticate(query_client: Callable[[str], Any], request: OAuth2Request) -> Any:
    """The client that names itself, or None; whether it may be public is its registration's to say."""
    return query_client(request.form.get("client_id", ""))
