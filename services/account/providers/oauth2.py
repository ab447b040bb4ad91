"""Providers that speak plain OAuth 2.0: who somebody is, their own API says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from authlib.integrations.requests_client import OAuth2Session

from services.account.providers.provider import Identity, Provider, Trip, answer_of

Ask = Callable[[str], Any]
"""The JSON at a path of the provider's API, asked in the person's name."""


@dataclass(kw_only=True)
class OAuth2Provider(Provider):
    """`read` makes an identity of what the API answers; the issuer is the origin that people sign in at."""

    authorize_url: str
    token_url: str
    api_url: str
    read: Callable[[Ask, str], Identity] = field(repr=False)

    @property
    def issuer(self) -> str:
        parts = urlsplit(self.authorize_url)
        return f"{parts.scheme}://{parts.netloc}"

    def _authorization_endpoint(self, trip: Trip) -> str:
        return self.authorize_url

    def _identify(self, http: OAuth2Session, trip: Trip, code: str, iss: str | None) -> Identity:
        http.fetch_token(self.token_url, code=code, code_verifier=trip.verifier)
        return self.read(lambda path: answer_of(http, self.api_url + path), self.issuer)
