"""Registration of clients by themselves (RFC 7591, OpenID Connect Registration), and its management (RFC 7592).

The words on the wire; what may be registered is flows/clients/registering.py. docs/decisions/0020 says why Authlib's
endpoints lend their errors alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7591 import (
    InvalidClientMetadataError,
    InvalidRedirectURIError,
    InvalidSoftwareStatementError,
    UnapprovedSoftwareStatementError,
)
from flask import Request, current_app
from flask_babel import force_locale

from libs.audit import set_actor
from libs.guard.single_use import digest
from libs.service import parts_of
from services.oidc.flows.clients import UnknownClient, registering
from services.oidc.flows.clients.documents import read_json
from services.oidc.flows.clients.metadata import BY_NAME, InvalidClient
from services.oidc.flows.clients.secrets import holds_secret, living_secrets
from services.oidc.models import Client

MAX_BODY_BYTES = 64 * 1024
MAX_TOKEN_LENGTH = 200
TELLS_NOTHING_NEW = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)
"""What the issuer says, so that a client never sends it (RFC 7592 §2.2)."""
Answer = tuple[int, Mapping[str, Any]]


class NoRegistrationToken(OAuth2Error):
    """Nothing was presented where something has to be."""

    error = "invalid_token"
    description = "A token is needed here, as Authorization: Bearer."
    status_code = 401


class WrongRegistrationToken(OAuth2Error):
    """What was presented is not it."""

    error = "invalid_token"
    description = "This token does not let you do that."
    status_code = 401


class NotAllowedHere(OAuth2Error):
    """Not to this client, or to nobody."""

    error = "access_denied"
    status_code = 403


def create(request: Request) -> Answer:
    """RFC 7591 §3.1: 201 with everything that is registered, and the tokens, this once."""
    with _in_their_words():
        metadata = _read_body(request)
        _refuse_software_statement(metadata)
        made = registering.register(metadata, token=_bearer(request, is_optional=True))
    return 201, _information(made.client, token=made.token, secret=made.secret)


def read(request: Request, client_id: str) -> Answer:
    """RFC 7592 §2.1. The secret is not told again: nobody here knows it."""
    with _in_their_words():
        token = _bearer(request)
        return 200, _information(registering.find_registered(client_id, token=token), token=token)


def update(request: Request, client_id: str) -> Answer:
    """RFC 7592 §2.2: what is sent is what the client is from now on."""
    with _in_their_words():
        token = _bearer(request)
        client = registering.find_registered(client_id, token=token)
        set_actor(f"client:{client_id}")
        metadata = _read_body(request)
        _refuse_software_statement(metadata)
        if metadata.get("client_id") != client_id:
            raise InvalidClientMetadataError("client_id must be the one of this client.")
        if forbidden := [name for name in TELLS_NOTHING_NEW if name in metadata]:
            raise InvalidClientMetadataError(f"{forbidden[0]} is not yours to say.")
        secret = metadata.get("client_secret")
        if secret is not None and not (isinstance(secret, str) and holds_secret(client, digest(secret))):
            raise InvalidClientMetadataError("client_secret is not the one of this client.")
        changed = registering.replace(client_id, metadata, token=token)
        return 200, _information(changed.client, token=token, secret=changed.secret)


def delete(request: Request, client_id: str) -> None:
    """RFC 7592 §2.3."""
    with _in_their_words():
        token = _bearer(request)
        set_actor(f"client:{client_id}")
        registering.remove(client_id, token=token)


def _information(client: Client, *, token: str, secret: str | None = None) -> dict[str, Any]:
    """The client information response (RFC 7591 §3.2.1, RFC 7592 §3)."""
    issuer = parts_of(current_app).settings.PUBLIC_URL
    found: dict[str, Any] = {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at.timestamp()),
        **registering.metadata_of(client),
        "registration_access_token": token,
        "registration_client_uri": f"{issuer}/oauth2/register/{client.client_id}",
    }
    if secret is not None:
        found["client_secret"] = secret
    if living := living_secrets(client):
        ends_at = living[-1].expires_at
        found["client_secret_expires_at"] = int(ends_at.timestamp()) if ends_at else 0
    return found


def _bearer(request: Request, *, is_optional: bool = False) -> Any:
    """The token of a request, in the header alone. Raises NoRegistrationToken, WrongRegistrationToken."""
    header = request.headers.get("Authorization")
    if header is None and is_optional:
        return None
    if header is None:
        raise NoRegistrationToken
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token.strip()) <= MAX_TOKEN_LENGTH:
        raise WrongRegistrationToken
    return token.strip()


def _read_body(request: Request) -> dict[str, Any]:
    """The metadata: one object of JSON, each member once. Raises InvalidRequestError."""
    if request.args:
        raise InvalidRequestError("Parameters belong into the body of the request.")
    if request.mimetype != "application/json":
        raise InvalidRequestError("The body of the request must be application/json.")
    request.max_content_length = MAX_BODY_BYTES
    try:
        found = read_json(request.get_data())
    except (ValueError, RecursionError):
        raise InvalidRequestError(
            "The body of the request is no JSON whose members come once each."
        ) from None
    if not isinstance(found, dict):
        raise InvalidRequestError("The body of the request must be an object of JSON.")
    return found


def _refuse_software_statement(metadata: Mapping[str, Any]) -> None:
    """We trust nobody's statements: going on without one would register something else than was asked for."""
    statement = metadata.get("software_statement")
    if statement is None:
        return
    if not isinstance(statement, str) or statement.count(".") != 2:
        raise InvalidSoftwareStatementError("A software statement is a signed JWT.")
    raise UnapprovedSoftwareStatementError("No issuer of software statements is approved here.")


@contextmanager
def _in_their_words() -> Iterator[None]:
    """What the flows refuse, as errors of RFC 7591 §3.2.2 and RFC 6750 §3.1, in English."""
    try:
        with force_locale("en"):
            yield
    except InvalidClient as error:
        raise _metadata_error(error) from error
    except registering.TokenNeeded as error:
        raise NoRegistrationToken from error
    except (registering.TokenRefused, UnknownClient) as error:
        raise WrongRegistrationToken from error
    except (registering.RegistrationClosed, registering.NotManaged) as error:
        with force_locale("en"):
            raise NotAllowedHere(f"{error.title}.") from error


def _metadata_error(error: InvalidClient) -> OAuth2Error:
    with force_locale("en"):
        named = {_metadata_name(name): str(words) for name, words in error.errors.items()}
    kind = InvalidRedirectURIError if "redirect_uris" in named else InvalidClientMetadataError
    name, words = (
        ("redirect_uris", named["redirect_uris"]) if "redirect_uris" in named else next(iter(named.items()))
    )
    return kind(_plain(f"{name}: {words}"))


def _metadata_name(name: str) -> str:
    setting = BY_NAME.get(name)
    return setting.metadata if setting is not None and setting.metadata is not None else name


def _plain(text: str) -> str:
    """What an error_description may hold (RFC 6749 §5.2)."""
    return "".join(sign if " " <= sign <= "~" and sign not in '"\\' else "'" for sign in text)[:500]
