"""client_secret_basic: id and secret in an Authorization header (RFC 6749 §2.3.1)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_plus

from services.oidc.protocol.requests import FormRequest


def is_used(request: FormRequest) -> bool:
    """Any Authorization header is an attempt: what cannot be read must not pass for a public client."""
    return request.authorization is not None


def claimed_client_id(request: FormRequest) -> str | None:
    credentials = request.basic
    return unquote_plus(credentials[0]) if credentials else None


def authenticate(query_client: Callable[[str], Any], request: FormRequest) -> Any:
    """The client whose secret the header holds, or None."""
    credentials = request.basic
    if credentials is None:
        return None
    client_id = unquote_plus(credentials[0])
    if request.form.get("client_id", client_id) != client_id:
        return None
    client, secret = query_client(client_id), credentials[1]
    if client is None:
        return None
    # The standard says form-encoded; many clients send the secret as it is. Each way is compared.
    attempts = {secret}
    if "%" in secret or "+" in secret:
        attempts |= {unquote_plus(secret), unquote(secret)}
    return client if any(client.check_client_secret(text) for text in attempts) else None
