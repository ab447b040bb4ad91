"""Metadata (OpenID Connect Discovery §3, RFC 8414 §2): true to what is switched on, prepared as bytes."""

import hashlib
import json
from functools import cache
from typing import Any

from libs.web.languages import LANGUAGES
from services.oidc.flows.clients.metadata import ACR_VALUES, CLIENT_ALGORITHMS, SIGNING_ALGORITHMS
from services.oidc.protocol.authorization.checks import DISPLAYS, PROMPTS, RESPONSE_MODES
from services.oidc.protocol.authorization.request_object import UNSIGNED
from services.oidc.protocol.client_auth import CONFIDENTIAL_METHODS, METHODS
from services.oidc.protocol.grants import OFFERED
from services.oidc.protocol.pkce import METHODS_SUPPORTED
from services.oidc.scopes import SCOPES, STANDARD_CLAIMS


def metadata(issuer: str, *, clients_may_register: bool) -> dict[str, Any]:
    """What a client needs to know of this issuer."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "token_endpoint": f"{issuer}/oauth2/token",
        "userinfo_endpoint": f"{issuer}/oauth2/userinfo",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth2/par",
        "device_authorization_endpoint": f"{issuer}/oauth2/device_authorization",
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "end_session_endpoint": f"{issuer}/oauth2/logout",
        **({"registration_endpoint": f"{issuer}/oauth2/register"} if clients_may_register else {}),
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": list(OFFERED),
        "subject_types_supported": ["public", "pairwise"],
        "id_token_signing_alg_values_supported": list(SIGNING_ALGORITHMS),
        "userinfo_signing_alg_values_supported": list(SIGNING_ALGORITHMS),
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(CLIENT_ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": list(CONFIDENTIAL_METHODS),
        "introspection_endpoint_auth_signing_alg_values_supported": list(CLIENT_ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(CLIENT_ALGORITHMS),
        "code_challenge_methods_supported": list(METHODS_SUPPORTED),
        "prompt_values_supported": list(PROMPTS),
        "acr_values_supported": list(ACR_VALUES),
        "display_values_supported": list(DISPLAYS),
        "claim_types_supported": ["normal"],
        "claims_supported": [
            *("iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"),
            *STANDARD_CLAIMS,
        ],
        "ui_locales_supported": list(LANGUAGES),
        "claims_parameter_supported": True,
        "request_parameter_supported": True,
        "request_uri_parameter_supported": True,
        "require_request_uri_registration": True,
        "request_object_signing_alg_values_supported": [*CLIENT_ALGORITHMS, UNSIGNED],
        "require_signed_request_object": False,
        "require_pushed_authorization_requests": False,
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
    }


@cache
def document(issuer: str, *, clients_may_register: bool) -> tuple[bytes, str]:
    """The metadata as bytes, and their ETag."""
    found = metadata(issuer, clients_may_register=clients_may_register)
    body = json.dumps(found, separators=(",", ":")).encode()
    return body, hashlib.sha256(body).hexdigest()[:32]
