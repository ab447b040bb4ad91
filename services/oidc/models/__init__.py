"""oidc's tables, by theme: clients, keys, people, grants and tokens, what staff look into."""

from services.oidc.models.clients import (
    ACCESS_TOKEN_FORMATS,
    AUTH_METHODS,
    GRANTS,
    Client,
    ClientSecret,
    InitialAccessToken,
    Resource,
)
from services.oidc.models.grants import AccessToken, Grant, RefreshToken
from services.oidc.models.keys import AnnouncedKeys, IssuerSecret, SigningKey
from services.oidc.models.logouts import LogoutDelivery
from services.oidc.models.people import Consent, Subject
from services.oidc.models.refusals import Refusal

__all__ = [
    "ACCESS_TOKEN_FORMATS",
    "AUTH_METHODS",
    "GRANTS",
    "AccessToken",
    "AnnouncedKeys",
    "Client",
    "ClientSecret",
    "Consent",
    "Grant",
    "InitialAccessToken",
    "IssuerSecret",
    "LogoutDelivery",
    "RefreshToken",
    "Refusal",
    "Resource",
    "SigningKey",
    "Subject",
]
