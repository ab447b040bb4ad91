"""What an authorization request must be, read down one page: CHECKS in order, each small and named.

Until `redirect_uri_is_registered` has passed an error is shown on our own page; after it, the client is told
by a redirect (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.resources import find_resources, scopes_at
from services.oidc.protocol.authorization import pushed, strength
from services.oidc.protocol.authorization.claims_request import Unreadable, read_claims_request
from services.oidc.protocol.authorization.request_object import InvalidRequestObject, read_request_object
from services.oidc.protocol.claims import may_ask_for
from services.oidc.protocol.tokens import read_id_token_hint
from services.oidc.scopes import OFFLINE_ACCESS

PROMPTS = ("none", "login", "consent", "select_account", "create")
RESPONSE_MODES = ("query", "fragment", "form_post")
DISPLAYS = ("page", "popup", "touch", "wap")
"""All are one page that fits every screen."""
REPEATABLE = "resource"
"""The one parameter that may come several times (RFC 8707 §2)."""
MAX_REQUEST_LENGTH = 12_000
"""Characters of all parameters together; what is kept of a request has to stay small."""
MAX_HINT_LENGTH = 320
"""Characters of a login_hint: an address is never longer."""
MAX_SHOWN_LENGTH = 400
"""Characters of an address that a reason shows."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*\Z")
MAX_LANGUAGES_LENGTH = 100
"""Characters of a ui_locales; it travels in addresses."""
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
    """Each that was sent, without empty ones (RFC 6749 §3.1); several resources with blanks between them."""
    repeated: frozenset[str]
    issuer: str
    is_push: bool = False
    """It comes from the client itself, at the endpoint for pushed requests."""
    pushed_as: str | None = None
    """The request_uri under which it was pushed before."""
    is_signed: bool = False
    """The client signed it, as a request object."""
    client: RegisteredClient = None  # type: ignore[assignment]  # set by the first check
    redirect_uri: str = ""
    may_redirect: bool = False
    response_mode: str = "query"
    """The default of `code` (OAuth 2.0 Multiple Response Types §2.1) until another one is proven to be offered."""
    scopes: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    max_age: int | None = None
    acr_values: list[str] = field(default_factory=list)
    """How strong the sign-in should be, best first."""
    is_acr_essential: bool = False
    claims_request: dict[str, list[str]] | None = None
    """Claims that the client may ask for by name, as the grant keeps them."""
    named_subs: list[str] | None = None
    """As whom alone the person may be signed in, by the numbers that this client knows; None: anybody."""

    @property
    def state(self) -> str | None:
        return None if "state" in self.repeated else self.parameters.get("state")

    @property
    def ui_locales(self) -> str | None:
        """The languages asked for, those that are well-formed (BCP 47); nobody is refused for one."""
        sent = (self.parameters.get("ui_locales") or "")[:MAX_LANGUAGES_LENGTH].split()
        return " ".join(tag for tag in sent if _LANGUAGE_TAG.match(tag)) or None

    def get(self, name: str) -> str | None:
        return self.parameters.get(name)


def request_is_readable(request: AuthorizationRequest) -> None:
    """Small, and free of control characters and half characters, which no parameter has a use for."""
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


def pushed_request_is_found(request: AuthorizationRequest) -> None:
    """RFC 9126 §4: what was pushed under the name is the request, for the client that pushed it."""
    name = request.get("request_uri")
    if "request_uri" in request.repeated:
        raise Refused("invalid_request", "The request_uri was sent more than once.")
    if request.is_push and name is not None:
        raise Refused("invalid_request", "A pushed request holds no request_uri.")
    if name is None or not pushed.is_pushed(name):
        return
    if request.get("request") is not None:
        raise Refused("invalid_request", "Either request or request_uri, not both.")
    found = pushed.find(name, request.client.client_id)
    if found is None:
        raise Refused("invalid_request_uri", "The request has been used already, or it is too old.")
    request.parameters, request.is_signed, request.pushed_as = found.parameters, found.is_signed, name


def request_object_is_valid(request: AuthorizationRequest) -> None:
    """RFC 9101 §6: where there is one, its parameters alone are the request."""
    if "request" in request.repeated:
        raise Refused("invalid_request", "The request object was sent more than once.")
    try:
        found = read_request_object(request.parameters, request.client, issuer=request.issuer)
    except InvalidRequestObject as error:
        raise Refused(error.error, error.description, error.detail) from error
    if found is not None:
        request.parameters, request.is_signed = found
        request_is_readable(request)


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


def response_mode_is_offered(request: AuthorizationRequest) -> None:
    """How every answer from here on goes; an error about it goes by the default."""
    mode = request.get("response_mode")
    if mode is None or "response_mode" in request.repeated:
        return
    if mode not in RESPONSE_MODES:
        raise Refused("invalid_request", "This response_mode is not supported.")
    request.response_mode = mode


def no_parameter_is_repeated(request: AuthorizationRequest) -> None:
    """RFC 6749 §3.1."""
    if request.repeated:
        raise Refused("invalid_request", "A parameter was sent more than once.")


def request_came_as_registered(request: AuthorizationRequest) -> None:
    """Pushed and signed, where the client has promised to (RFC 9126 §6, RFC 9101 §10.5)."""
    client = request.client
    if client.require_pushed_authorization_requests and not (request.is_push or request.pushed_as):
        raise Refused("invalid_request", "This client must push its requests.")
    if client.require_signed_request_object and not request.is_signed:
        raise Refused("invalid_request", "This client must sign its requests.")


def response_type_is_code(request: AuthorizationRequest) -> None:
    """Tokens never travel through the browser (RFC 9700 §2.1.2)."""
    response_type = request.get("response_type")
    if response_type is None:
        raise Refused("invalid_request", "The parameter response_type is missing.")
    if response_type != "code":
        raise Refused("unsupported_response_type", "The only response_type is code.")
    if not request.client.check_response_type(response_type):
        raise Refused("unauthorized_client", "The client is not registered for this response_type.")


def no_registration(request: AuthorizationRequest) -> None:
    """A parameter that would change the request and that we cannot read (OpenID Connect Core §3.1.2.6)."""
    if request.get("registration") is not None:
        raise Refused("registration_not_supported", "The parameter registration is not supported.")


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


def resources_are_registered(request: AuthorizationRequest) -> None:
    """RFC 8707 §2: known here, and something to this client. Scopes of other resources are dropped.

    The token response then says which scopes are left (RFC 6749 §3.3).
    """
    wanted = list(dict.fromkeys((request.get("resource") or "").split()))
    if not wanted:
        return
    registered = find_resources()
    for identifier in wanted:
        resource = registered.get(identifier)
        if resource is None:
            raise Refused("invalid_target", "This resource is not registered.", identifier[:200])
        if resource.scopes and not request.client.scopes & set(resource.scopes):
            detail = f"the client has no scope of {identifier[:200]}"
            raise Refused("invalid_target", "The client is not registered for this resource.", detail)
    request.resources = wanted
    request.scopes = scopes_at(request.scopes, resources=wanted)
    if not request.scopes:
        raise Refused("invalid_scope", "No scope that was asked for means anything at this resource.")


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


def display_is_known(request: AuthorizationRequest) -> None:
    display = request.get("display")
    if display is not None and display not in DISPLAYS:
        raise Refused("invalid_request", "This display is not supported.")


def max_age_is_a_number(request: AuthorizationRequest) -> None:
    """Else what the client is registered with (Registration §2)."""
    text = request.get("max_age")
    if text is None:
        request.max_age = request.client.default_max_age
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
    request.named_subs = [claims["sub"]]


def claims_are_readable(request: AuthorizationRequest) -> None:
    """Core §5.5: what of it the client may have, who must be signed in, and how strongly.

    `acr_values` and what the client is registered with are voluntary; the parameter says more than they do.
    """
    request.acr_values = strength.known((request.get("acr_values") or "").split())
    text = request.get("claims")
    if text is not None and "openid" in request.scopes:
        try:
            asked = read_claims_request(text)
        except Unreadable as error:
            raise Refused("invalid_request", str(error)) from error
        if asked.subs is not None:
            known = request.named_subs
            if known is not None and not set(known) & set(asked.subs):
                raise Refused("invalid_request", "The id_token_hint and claims name different people.")
            request.named_subs = known or asked.subs
        if asked.is_acr_essential:
            request.acr_values, request.is_acr_essential = strength.known(asked.acr_values), True
            if not request.acr_values:
                raise Refused("unmet_authentication_requirements", "No such acr is offered.")
        elif asked.acr_values:
            request.acr_values = strength.known(asked.acr_values)
        names = {
            member: [name for name in names if may_ask_for(request.client, name)]
            for member, names in asked.names.items()
        }
        request.claims_request = {member: found for member, found in names.items() if found} or None
    if not request.acr_values:
        request.acr_values = list(request.client.default_acr_values)


def pushed_request_is_used_once(request: AuthorizationRequest) -> None:
    """RFC 9126 §4: a pushed request leads to one interaction."""
    if request.pushed_as is not None and not pushed.spend(request.pushed_as):
        raise Refused("invalid_request_uri", "The request has been used already, or it is too old.")


CHECKS: tuple[Callable[[AuthorizationRequest], Any], ...] = (
    request_is_readable,
    client_is_known,
    pushed_request_is_found,
    request_object_is_valid,
    redirect_uri_is_registered,
    # From here on the client is told.
    response_mode_is_offered,
    no_parameter_is_repeated,
    request_came_as_registered,
    response_type_is_code,
    no_registration,
    scope_is_allowed,
    resources_are_registered,
    pkce_is_s256,
    prompt_is_offered,
    display_is_known,
    max_age_is_a_number,
    login_hint_is_short,
    id_token_hint_is_ours,
    claims_are_readable,
    # Last, so that only an accepted request is used up.
    pushed_request_is_used_once,
)


def first_difference(sent: str, registered: tuple[str, ...]) -> str:
    """Where an address leaves the nearest registered one, for whoever reads the log."""

    def common(known: str) -> int:
        pairs = zip(sent, known, strict=False)
        return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(sent), len(known)))

    if not registered:
        return "the client has no redirect_uri"
    nearest = max(registered, key=common)
    addresses = f"sent {sent[:MAX_SHOWN_LENGTH]}, registered {nearest[:MAX_SHOWN_LENGTH]}"
    return f"redirect_uri differs from the registered one at character {common(nearest) + 1}: {addresses}"
