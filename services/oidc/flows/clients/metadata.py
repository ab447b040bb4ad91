"""What can be chosen for a client: one row per setting, and the rules that they must keep together.

Commands, the API, staff pages, `clients apply` and dynamic registration are all made from SETTINGS, so that a setting
is the same everywhere and none is forgotten anywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask_babel import lazy_gettext
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from libs.people.bearer.scopes import API_SCOPES
from libs.settings import is_loopback
from libs.web.problems import Problem
from services.oidc.flows.resources import offered_scopes
from services.oidc.models import ACCESS_TOKEN_FORMATS, AUTH_METHODS, GRANTS, Client
from services.oidc.scopes import ROLES, SOURCES

SIGNING_ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
"""What we can sign with."""
CLIENT_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""What clients may sign with: their requests, their assertions. The last two are one: RFC 9864 §2.2 renamed it."""
ACR_VALUES = ("1", "2", "phr")
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
MAX_NAME_LENGTH = 200
MAX_URI_LENGTH = 2000
MOST_URIS = 100
MOST_KEYS = 20
MOST_MAPPED_CLAIMS = 30
PROTOCOL_CLAIMS = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "acr", "amr", "azp", "auth_time", "sid"),
        *("at_hash", "c_hash", "s_hash", "events", "cnf", "act", "may_act", "client_id", "scope", "typ"),
        *("htm", "htu", "_claim_names", "_claim_sources"),
    }
)
"""What a mapping may not touch: tokens mean something by these."""


class InvalidClient(Problem):
    """A client's settings do not go together; `errors` says which, by the setting's name."""

    slug, title = "invalid-client-settings", lazy_gettext("These client settings cannot be used")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing that can be chosen for a client; `name` is the column."""

    name: str
    kind: str
    """text, flag, number, words (a set), uri, uris, choice, choices, json."""
    words: Any
    """What it is, for pages and help texts."""
    metadata: str | None = None
    """Its name in client metadata (RFC 7591 §2); None for one that only staff choose."""
    choices: tuple[str, ...] = ()
    is_privileged: bool = False
    """Never the client's own to choose, under whatever name."""
    is_optional: bool = False
    """May be None."""


def _row(name: str, kind: str, words: Any, metadata: str | None = "=", **more: Any) -> Setting:
    return Setting(name=name, kind=kind, words=words, metadata=name if metadata == "=" else metadata, **more)


_ = lazy_gettext
SETTINGS: tuple[Setting, ...] = (
    _row("name", "text", _("Name, as people see it"), "client_name"),
    _row("application_type", "choice", _("Kind of app"), choices=("web", "native")),
    _row(
        "auth_method",
        "choice",
        _("How it proves itself"),
        "token_endpoint_auth_method",
        choices=AUTH_METHODS,
    ),
    _row("redirect_uris", "uris", _("Where people return to after sign-in")),
    _row("post_logout_redirect_uris", "uris", _("Where people return to after sign-out")),
    _row("grants", "choices", _("Grant types"), "grant_types", choices=GRANTS),
    _row("scopes", "words", _("Scopes that it may ask for"), "scope"),
    _row("require_pkce", "flag", _("PKCE is required"), None, is_privileged=True),
    _row("rotate_refresh_tokens", "flag", _("Refresh tokens rotate"), None, is_privileged=True),
    _row("is_first_party", "flag", _("Ours: people are not asked for consent"), None, is_privileged=True),
    _row("is_enabled", "flag", _("Enabled"), None, is_privileged=True),
    _row("allowed_roles", "choices", _("Who may use it: only people with one of these roles"), None,
         choices=ROLES, is_privileged=True),
    _row("client_uri", "uri", _("Home page"), is_optional=True),
    _row("logo_uri", "uri", _("Logo"), is_optional=True),
    _row("policy_uri", "uri", _("Privacy policy"), is_optional=True),
    _row("tos_uri", "uri", _("Terms of service"), is_optional=True),
    _row("contacts", "words", _("Contacts")),
    _row("software_id", "text", _("Software id"), is_optional=True),
    _row("software_version", "text", _("Software version"), is_optional=True),
    _row("jwks", "json", _("Its public keys (JWKS)"), is_optional=True),
    _row("jwks_uri", "uri", _("Where its public keys are"), is_optional=True),
    _row("token_endpoint_auth_signing_alg", "choice", _("Algorithm of its assertions"),
         choices=CLIENT_ALGORITHMS, is_optional=True),
    _row("request_object_signing_alg", "choice", _("Algorithm of its request objects; none: unsigned ones, too"),
         choices=(*CLIENT_ALGORITHMS, "none"), is_optional=True),
    _row("request_uris", "uris", _("Where we fetch its request objects")),
    _row("require_pushed_authorization_requests", "flag", _("It must push its requests (PAR)")),
    _row("require_signed_request_object", "flag", _("It must sign its requests")),
    _row("subject_type", "choice", _("Whether people have another number at each sector"),
         choices=("public", "pairwise")),
    _row("sector_identifier_uri", "uri", _("Sector identifier"), is_optional=True),
    _row("id_token_signed_response_alg", "choice", _("Algorithm of ID tokens"), choices=SIGNING_ALGORITHMS),
    _row("userinfo_signed_response_alg", "choice", _("Algorithm of userinfo; none chosen: plain JSON"),
         choices=SIGNING_ALGORITHMS, is_optional=True),
    _row("access_token_format", "choice", _("Form of access tokens"), None, choices=ACCESS_TOKEN_FORMATS,
         is_privileged=True),
    _row("access_token_signing_alg", "choice", _("Algorithm of access tokens"), None,
         choices=SIGNING_ALGORITHMS, is_privileged=True),
    _row("claims_mapping", "json", _("Claims of its own"), None, is_privileged=True),
    _row("initiate_login_uri", "uri", _("Where others may begin a sign-in to it"), is_optional=True),
    _row("default_max_age", "number", _("Longest time since the sign-in, in seconds"), is_optional=True),
    _row("require_auth_time", "flag", _("ID tokens say when the person signed in")),
    _row("default_acr_values", "choices", _("Strength of sign-in that it asks for"), choices=ACR_VALUES),
    _row("backchannel_logout_uri", "uri", _("Back-channel logout"), is_optional=True),
    _row("backchannel_logout_session_required", "flag", _("Back-channel logout names the session")),
    _row("frontchannel_logout_uri", "uri", _("Front-channel logout"), is_optional=True),
    _row("frontchannel_logout_session_required", "flag", _("Front-channel logout names the session")),
)  # fmt: skip
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_METADATA: Mapping[str, Setting] = {
    setting.metadata: setting for setting in SETTINGS if setting.metadata is not None
}


def usual_name(alg: str) -> str:
    """The name by which an algorithm is known here, whichever of its names a client uses."""
    return "EdDSA" if alg == "Ed25519" else alg


def settings_of(client: Client) -> dict[str, Any]:
    """What was chosen for a client, as commands show it and the audit keeps it."""
    found = {}
    for setting in SETTINGS:
        value = getattr(client, setting.name)
        found[setting.name] = list(value) if isinstance(value, (list, tuple)) else value
    return found


def tidy(name: str, value: Any) -> Any:
    """A value as it is kept: text without blanks around it, lists without empty members and repetitions."""
    if BY_NAME[name].kind in ("uris", "words", "choices"):
        return unique(value)
    if isinstance(value, str):
        return value.strip() or (None if BY_NAME[name].is_optional else "")
    return value


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))


# -- rules -------------------------------------------------------------------------------------------------------


def check(client: Client) -> None:
    """Refuse settings that cannot be or do not go together. Raises InvalidClient with a message per setting.

    What has to be fetched to be known (the sector identifier) is flows/clients/sectors.py's to check.
    """
    errors: dict[str, Any] = {}
    for setting in SETTINGS:
        error = _error_of(client, setting)
        if error is not None:
            errors[setting.name] = error
    if not errors:
        for rule in RULES:
            for name, error in rule(client):
                errors.setdefault(name, error)
    if errors:
        raise InvalidClient(errors=errors)


def _error_of(client: Client, setting: Setting) -> Any:
    """What is wrong with one value by itself; None when nothing."""
    value = getattr(client, setting.name)
    if value is None:
        return None if setting.is_optional else lazy_gettext("This must be chosen.")
    if setting.kind == "choice" and value not in setting.choices:
        return lazy_gettext("One of: %(words)s.", words=", ".join(setting.choices))
    if setting.kind == "choices" and (unknown := set(value) - set(setting.choices)):
        return lazy_gettext("We do not offer: %(words)s.", words=", ".join(sorted(unknown)))
    if setting.kind == "text" and (not value or len(value) > MAX_NAME_LENGTH or not value.isprintable()):
        return lazy_gettext("Give it a name of at most 200 characters.")
    if setting.kind == "words" and any(
        len(word) > MAX_NAME_LENGTH or not word.isprintable() for word in value
    ):
        return lazy_gettext("At most 200 characters each, and no control characters.")
    if setting.kind in ("uris", "words") and len(value) > MOST_URIS:
        return lazy_gettext("At most %(count)s.", count=MOST_URIS)
    if setting.kind == "number" and not 0 <= value <= 10**9:
        return lazy_gettext("A number of seconds.")
    if setting.kind in ("uri", "uris"):
        is_native = client.application_type == "native" and setting.name in NATIVE_URIS
        for uri in [value] if setting.kind == "uri" else value:
            # The fragment of a request_uri is the hash of what is there (OpenID Connect Core §6.2).
            text = uri.partition("#")[0] if setting.name == "request_uris" else uri
            if not is_acceptable_uri(text, is_native=is_native):
                return lazy_gettext(
                    "%(uri)s cannot be used: an https address without a fragment is (http on loopback alone).",
                    uri=uri[:200],
                )
    return None


NATIVE_URIS = ("redirect_uris", "post_logout_redirect_uris")
"""Where an app on a device may have a scheme of its own."""


def is_acceptable_uri(uri: str, *, is_native: bool) -> bool:
    """Whether a browser may be sent there: absolute, https, no fragment, no name and password.

    http is for loopback alone; a scheme of the app's own for native clients, written as a reversed
    domain name (RFC 8252 §7.1), which leaves out javascript: and its like.
    """
    if len(uri) > MAX_URI_LENGTH or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return False
    if "#" in uri or "@" in parts.netloc:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme == "http":
        return bool(parts.hostname) and is_loopback(parts.hostname or "")
    return is_native and "." in parts.scheme


Errors = Iterable[tuple[str, Any]]


def _grants_have_what_they_need(client: Client) -> Errors:
    if "authorization_code" in client.grants and not client.redirect_uris:
        yield "redirect_uris", lazy_gettext("Name at least one address to return to.")
    if "refresh_token" in client.grants and not {"authorization_code", DEVICE_CODE} & set(client.grants):
        yield "grants", lazy_gettext("Nothing that it may do gives a refresh token.")
    if "client_credentials" in client.grants and client.auth_method == "none":
        yield "grants", lazy_gettext("A public client has no credentials to get a token with.")


def _scopes_are_offered(client: Client) -> Errors:
    if unknown := set(client.scopes) - set(offered_scopes()):
        words = ", ".join(sorted(unknown))
        yield "scopes", lazy_gettext("We do not offer: %(words)s.", words=words)


def _public_clients_are_protected(client: Client) -> Errors:
    if client.auth_method == "none" and not (client.require_pkce and client.rotate_refresh_tokens):
        yield (
            "require_pkce",
            lazy_gettext("A public client always uses PKCE and rotating refresh tokens."),
        )


def _keys_can_be_found(client: Client) -> Errors:
    if client.jwks is not None and client.jwks_uri is not None:
        yield "jwks", lazy_gettext("Either the keys or their address, not both.")
    needs_keys = client.auth_method == "private_key_jwt" or client.require_signed_request_object
    if needs_keys and client.jwks is None and client.jwks_uri is None:
        yield "jwks", lazy_gettext("Without its public keys nothing that it signs can be checked.")
    if client.jwks is not None and not is_public_key_set(client.jwks):
        yield (
            "jwks",
            lazy_gettext("This is not a JWKS of public keys, of %(count)s at most.", count=MOST_KEYS),
        )
    if client.require_signed_request_object and client.request_object_signing_alg == "none":
        yield "request_object_signing_alg", lazy_gettext("Requests that must be signed are never unsigned.")


def is_public_key_set(jwks: Any) -> bool:
    """Whether this is a JWKS whose keys are all public halves of a kind we know."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= MOST_KEYS:
        return False
    if any(
        not isinstance(key, dict) or key.get("kty") not in ("RSA", "EC", "OKP") or "d" in key for key in keys
    ):
        return False
    try:
        KeySet.import_key_set(jwks)
    except (JoseError, ValueError, TypeError, KeyError):
        return False
    return True


def _sector_is_one(client: Client) -> Errors:
    """OpenID Connect Core §8.1: without a sector identifier the redirect URIs must be of one host."""
    if client.subject_type != "pairwise":
        return
    hosts = {urlsplit(uri).hostname for uri in client.redirect_uris}
    if client.sector_identifier_uri is None and len(hosts) != 1:
        yield "sector_identifier_uri", lazy_gettext("Its redirect URIs are of several hosts, or of none.")
    if set(client.scopes) & set(API_SCOPES):
        yield (
            "scopes",
            lazy_gettext("Our own APIs know people by the number that a pairwise client must not see."),
        )


def _logout_addresses_are_its_own(client: Client) -> Errors:
    """Front-Channel Logout §2: scheme, host and port of a registered redirect URI."""
    if client.frontchannel_logout_uri is None:
        return
    wanted = urlsplit(client.frontchannel_logout_uri)
    known = {urlsplit(uri)[:2] for uri in client.redirect_uris}
    if wanted[:2] not in known:
        yield "frontchannel_logout_uri", lazy_gettext("It must be on the site of one of the redirect URIs.")


def _claims_are_mapped_plainly(client: Client) -> Errors:
    """`{claim: source}`: the name of something that we know of people, or `{"value": …}` for the same everywhere."""
    mapping = client.claims_mapping
    words = lazy_gettext(
        'Each claim is the name of one of ours, or {"value": …}; none that tokens mean something by.'
    )
    if not isinstance(mapping, dict) or len(mapping) > MOST_MAPPED_CLAIMS:
        yield "claims_mapping", words
        return
    for name, source in mapping.items():
        is_name = bool(name) and len(name) <= MAX_NAME_LENGTH and name.isprintable()
        if not is_name or name in PROTOCOL_CLAIMS or not _is_source(source):
            yield "claims_mapping", words
            return


def _is_source(source: Any) -> bool:
    if isinstance(source, str):
        return source in SOURCES
    if not isinstance(source, dict) or set(source) != {"value"}:
        return False
    value = source["value"]
    return isinstance(value, (bool, int)) or (isinstance(value, str) and len(value) <= MAX_NAME_LENGTH)


RULES: tuple[Callable[[Client], Errors], ...] = (
    _grants_have_what_they_need,
    _scopes_are_offered,
    _public_clients_are_protected,
    _keys_can_be_found,
    _sector_is_one,
    _logout_addresses_are_its_own,
    _claims_are_mapped_plainly,
)
