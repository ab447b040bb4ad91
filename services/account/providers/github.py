"""GitHub: OAuth 2.0 with PKCE (docs.github.com, "Authorizing OAuth apps")."""

import requests

from services.account.providers.oauth2 import Ask, OAuth2Provider
from services.account.providers.provider import Identity, ProviderError, identity
from services.account.settings import AccountSettings


def github(settings: AccountSettings) -> OAuth2Provider:
    return OAuth2Provider(
        name="github",
        label="GitHub",
        client_id=settings.GITHUB_CLIENT_ID,
        client_secret=settings.GITHUB_CLIENT_SECRET,
        scope="user:email",
        settings=settings,
        authorize_url=settings.GITHUB_AUTHORIZE_URL,
        token_url=settings.GITHUB_TOKEN_URL,
        api_url=settings.GITHUB_API_URL,
        read=read,
    )


def read(ask: Ask, issuer: str) -> Identity:
    """By the number of the account: its login can be renamed, and then taken by somebody else."""
    user = ask("/user")
    number = user["id"]
    if type(number) is not int or number <= 0:
        raise ProviderError("no usable subject")
    return identity(issuer=issuer, subject=str(number), names=(user.get("login"),), email=_address(ask))


def _address(ask: Ask) -> str | None:
    """The primary of the addresses that GitHub has verified; none where the app may not see them."""
    try:
        entries = ask("/user/emails")
    except requests.HTTPError:
        return None
    verified = [entry for entry in entries if entry["verified"] is True]
    verified.sort(key=lambda entry: entry.get("primary") is not True)
    return str(verified[0]["email"]) if verified else None
