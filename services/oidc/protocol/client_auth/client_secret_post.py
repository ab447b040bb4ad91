"""client_secret_post: id and secret in the form (RFC 6749 §2.3.1)."""

from collections.abc import Callable
from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Request


def is_used(request: OAuth2Request) -> bool:
    return "client_secret" in request.form


def authenticate(query_client: Callable[[str], Any], request: OAuth2Request) -> Any:
    """The client whose secret the form holds, or None."""
    client = query_client(request.form.get("client_id", ""))
    if client is None or not client.check_client_secret(request.form["client_secret"]):
        return None
    return client
