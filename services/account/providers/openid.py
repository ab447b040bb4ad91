"""Any OpenID Connect issuer, by the address of its discovery document (OpenID Connect Core and Discovery 1.0)."""

import time
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import KeySet

from services.account.providers.provider import Identity, Provider, ProviderError, Trip, answer_of, identity
from services.account.settings import WELL_KNOWN, AccountSettings, OpenIDIssuer, is_fetchable

METADATA_LIFETIME_S = 3600
CLOCK_DIFFERENCE_S = 60
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Signatures by a key pair of the issuer's. Never `none`, and no HMAC: its key would be a secret that we hold too."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(kw_only=True)
class OpenIDProvider(Provider):
    """Endpoints and keys come from the issuer, and are kept for METADATA_LIFETIME_S."""

    discovery_url: str
    _metadata: tuple[float, dict[str, Any]] | None = field(default=None, init=False, repr=False)
    _keys: tuple[float, KeySet] | None = field(default=None, init=False, repr=False)

    def _authorization_endpoint(self, trip: Trip) -> str:
        metadata = self._known_metadata() or self._ask(self._discovered, trip)
        return str(metadata["authorization_endpoint"])

    def _own_parameters(self, trip: Trip) -> dict[str, str]:
        return {"nonce": trip.nonce}

    def _identify(self, http: OAuth2Session, trip: Trip, code: str, iss: str | None) -> Identity:
        metadata = self._discovered(http)
        wants_iss = metadata.get("authorization_response_iss_parameter_supported") is True
        if iss != metadata["issuer"] and (wants_iss or iss is not None):
            raise ProviderError("the answer came from another issuer")
        methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if "client_secret_basic" in methods:
            http.token_endpoint_auth_method = "client_secret_basic"
        token = http.fetch_token(metadata["token_endpoint"], code=code, code_verifier=trip.verifier)
        claims = self._read_id_token(http, token["id_token"], metadata=metadata, nonce=trip.nonce)
        is_verified = claims.get("email_verified") is True
        email = claims.get("email")
        return identity(
            issuer=metadata["issuer"],
            subject=claims["sub"],
            names=(claims.get("preferred_username"), claims.get("email"), claims.get("name")),
            email=email if is_verified and isinstance(email, str) else None,
        )

    def _known_metadata(self) -> dict[str, Any] | None:
        return self._metadata[1] if self._metadata and self._metadata[0] > time.monotonic() else None

    def _discovered(self, http: OAuth2Session) -> dict[str, Any]:
        """The issuer's metadata. Raises ProviderError when it does not speak for this address (Discovery §4.3)."""
        known = self._known_metadata()
        if known is not None:
            return known
        metadata: dict[str, Any] = answer_of(http, self.discovery_url, withhold_token=True)
        if metadata["issuer"].rstrip("/") + WELL_KNOWN != self.discovery_url:
            raise ProviderError("the discovery document is another issuer's")
        for name in ENDPOINTS:
            if not is_fetchable(metadata[name], self.settings.OUTBOUND_ALLOWED_HOSTS):
                raise ProviderError(f"{name} is not https")
        self._metadata = (time.monotonic() + METADATA_LIFETIME_S, metadata)
        return metadata

    def _read_id_token(
        self, http: OAuth2Session, text: str, *, metadata: dict[str, Any], nonce: str
    ) -> dict[str, Any]:
        """The claims of an ID token, held to OpenID Connect Core §3.1.3.7. Raises JoseError, ProviderError."""
        try:
            claims = self._verified(text, self._issuer_keys(http, metadata))
        except (InvalidKeyIdError, BadSignatureError):
            # Signed, it may be, by a key that was made since we looked.
            claims = self._verified(text, self._issuer_keys(http, metadata, is_stale=True))
        jwt.JWTClaimsRegistry(
            leeway=CLOCK_DIFFERENCE_S,
            iss={"essential": True, "value": metadata["issuer"]},
            sub={"essential": True},
            aud={"essential": True, "value": self.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims.get("azp", self.client_id) != self.client_id or (
            len(audiences) > 1 and "azp" not in claims
        ):
            raise ProviderError("the ID token is for another client")
        return claims

    def _verified(self, text: str, keys: KeySet) -> dict[str, Any]:
        return dict(jwt.decode(text, keys, algorithms=list(ALGORITHMS)).claims)

    def _issuer_keys(
        self, http: OAuth2Session, metadata: dict[str, Any], *, is_stale: bool = False
    ) -> KeySet:
        if not is_stale and self._keys is not None and self._keys[0] > time.monotonic():
            return self._keys[1]
        keys = KeySet.import_key_set(answer_of(http, metadata["jwks_uri"], withhold_token=True))
        self._keys = (time.monotonic() + METADATA_LIFETIME_S, keys)
        return keys


def openid(settings: AccountSettings, issuer: OpenIDIssuer) -> OpenIDProvider:
    return OpenIDProvider(
        name=issuer.name,
        label=issuer.label,
        client_id=issuer.client_id,
        client_secret=issuer.client_secret,
        scope="openid profile email",
        settings=settings,
        discovery_url=issuer.discovery_url,
    )
