"""What an authorization request must be, read down one page: CHECKS in order, each small and named.

Until `redirect_uri_is_registered` has passed an error is shown on our own page; after it, the client is told
by a redirect (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.protocol.tokens import read_id_token_hint
from services.oidc.scopes import OFFLINE_ACCESS

PROMPTS = ("none", "login", "consent", "select_account")
RESPONSE_MODES = ("query",)
MAX_REQUEST_LENGTH = 12_000
"""Characters of all parameters together; what is kept of a request has to stay small."""
MAX_HINT_LENGTH = 320
"""Characters of a login_hint: an address is never longer."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class Refused(Exception):
    """The request fails. `error` and `description` are public; `detail` is for the log."""

    def __init__(self, error: str, description: str, detail: str = ""):
        super().__init__(description)
        self.error, self.description, self.detail = error, description, detail


@dataclass
class AuthorizationRequest:
    """A request on its way down the list; the checks fill in what they have proven."""

    parameters: dict[str, str]
    """Each that was sent, without empty ones (RFC 6749 §3.1)."""
    repeated: frozenset[str]
    issuer: str
    client: RegisteredClient = None  # type: ignore[assignment]  # set by the first check
    redirect_uri: str = ""
    may_redirect: bool = False
    scopes: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    max_age: int | None = None
    hint_sub: str | None = None

    @property
    def state(self) -> str | None:
        return None if "state" in self.repeated else self.parameters.get("state")

    def get(self, name: str) -> str | None:
        return self.parameters.get(name)


def request_is_readable(request: AuthorizationRequest) -> None:
    """Small, and free of control characters, which no parameter has a use for."""
    if sum(len(name) + len(value) for name, value in request.parameters.items()) > MAX_REQUEST_LENGTH:
        raise Refused("invalid_request", "The request is too long.")
    if any(_CONTROL.search(value) for value in request.parameters.values()):
        raise Refused("invalid_request", "The request holds characters that are not allowed.")


def client_is_known(request: AuthorizationRequest) -> None:
    """An enabled client of ours, named once."""
    client = None if "client_id" in request.repeated else find_client(request.get("client_id"))
    if client is None:
        raise Refused("invalid_request", "The app that sent you here is not registered.")
    request.client = client


def redirect_uri_is_registered(request: AuthorizationRequest) -> None:
    """One of the client's, character by character (RFC 9700 §4.1.3). OpenID Connect wants it named each time."""
    if "redirect_uri" in request.repeated:
        raise Refused("invalid_request", "The address to return to was sent more than once.")
    sent = request.get("redirect_uri")
    is_openid = "openid" in (request.get("scope") or "").split()
    if sent is None and (is_openid or request.client.get_default_redirect_uri() is None):
        raise Refused("invalid_request", "The request does not say where to return to.")
    if sent is not None and not request.client.check_redirect_uri(sent):
        detail = first_difference(sent, request.client.redirect_uris)
        raise Refused(
            "invalid_request", "The app did not register the address that it wants to return to.", detail
        )
    request.redirect_uri = sent or request.client.get_default_redirect_uri() or ""
    request.may_redirect = True


def no_parameter_is_repeated(request: AuthorizationRequest) -> None:
    """RFC 6749 §3.1."""
    if request.repeated:
        raise Refused("invalid_request", "A parameter was sent more than once.")


def response_type_is_code(request: AuthorizationRequest) -> None:
    """Tokens never travel through the browser (RFC 9700 §2.1.2)."""
    response_type = request.get("response_type")
    if response_type is None:
        raise Refused("invalid_request", "The parameter response_type is missing.")
    if response_type != "code":
        raise Refused("unsupported_response_type", "The only response_type is code.")
    if not request.client.check_response_type(response_type):
        raise Refused("unauthorized_client", "The client is not registered for this response_type.")


def response_mode_is_offered(request: AuthorizationRequest) -> None:
    mode = request.get("response_mode")
    if mode is not None and mode not in RESPONSE_MODES:
        raise Refused("invalid_request", "This response_mode is not supported.")


def no_request_object(request: AuthorizationRequest) -> None:
    """Parameters that would change the request and that we cannot read (OpenID Connect Core §3.1.2.6)."""
    for name in ("request", "request_uri", "registration"):
        if request.get(name) is not None:
            raise Refused(f"{name}_not_supported", f"The parameter {name} is not supported.")


def scope_is_allowed(request: AuthorizationRequest) -> None:
    """Nothing beyond what the client is registered for; offline_access needs the grant that it is for (§11)."""
    asked = list(dict.fromkeys((request.get("scope") or "").split()))
    if not asked:
        raise Refused("invalid_scope", "The parameter scope is missing.")
    if beyond := [word for word in asked if word not in request.client.scopes]:
        raise Refused("invalid_scope", "The client is not registered for this scope.", " ".join(beyond)[:200])
    if not request.client.check_grant_type("refresh_token"):
        asked = [word for word in asked if word != OFFLINE_ACCESS]
    request.scopes = asked


def pkce_is_s256(request: AuthorizationRequest) -> None:
    """RFC 7636 §4.3, RFC 9700 §2.1.1. A missing method would mean `plain`."""
    challenge, method = request.get("code_challenge"), request.get("code_challenge_method")
    if challenge is None and method is None:
        if request.client.require_pkce:
            raise Refused("invalid_request", "The parameter code_challenge is missing.")
        return
    if method != "S256":
        raise Refused("invalid_request", "The code_challenge_method must be S256.")
    if challenge is None or not _S256_CHALLENGE.match(challenge):
        raise Refused("invalid_request", "The code_challenge is not one of S256.")


def prompt_is_offered(request: AuthorizationRequest) -> None:
    """OpenID Connect Core §3.1.2.1: `none` stands alone."""
    prompts = list(dict.fromkeys((request.get("prompt") or "").split()))
    if any(word not in PROMPTS for word in prompts):
        raise Refused("invalid_request", "This prompt is not supported.")
    if "none" in prompts and len(prompts) > 1:
        raise Refused("invalid_request", "The prompt none stands alone.")
    request.prompts = prompts


def max_age_is_a_number(request: AuthorizationRequest) -> None:
    text = request.get("max_age")
    if text is None:
        return
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refused("invalid_request", "The max_age must be a number of seconds.")
    request.max_age = int(text)


def login_hint_is_short(request: AuthorizationRequest) -> None:
    if len(request.get("login_hint") or "") > MAX_HINT_LENGTH:
        raise Refused("invalid_request", "The login_hint is too long.")


def id_token_hint_is_ours(request: AuthorizationRequest) -> None:
    """An ID token that we gave this very client, expired or not."""
    hint = request.get("id_token_hint")
    if hint is None:
        return
    claims = read_id_token_hint(hint, issuer=request.issuer)
    if claims is None or claims.get("aud") != request.client.client_id:
        raise Refused("invalid_request", "The id_token_hint is not an ID token of this client.")
    request.hint_sub = claims["sub"]


CHECKS: tuple[Callable[[AuthorizationRequest], Any], ...] = (
    request_is_readable,
    client_is_known,
    redirect_uri_is_registered,
    # From here on the client is told.
    no_parameter_is_repeated,
    response_type_is_code,
    response_mode_is_offered,
    no_request_object,
    scope_is_allowed,
    pkce_is_s256,
    prompt_is_offered,
    max_age_is_a_number,
    login_hint_is_short,
    id_token_hint_is_ours,
)


def first_difference(sent: str, registered: tuple[str, ...]) -> str:
    """Where an address leaves the nearest registered one, for whoever reads the log."""

    def common(known: str) -> int:
        pairs = zip(sent, known, strict=False)
        return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(sent), len(known)))

    if not registered:
        return "the client has no redirect_uri"
    place = max(common(known) for known in registered)
    return f"redirect_uri differs from the registered one at character {place + 1}"
