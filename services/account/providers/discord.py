"""Discord: OAuth 2.0 with PKCE (docs.discord.com, "OAuth2")."""

from services.account.providers.oauth2 import Ask, OAuth2Provider
from services.account.providers.provider import Identity, identity
from services.account.settings import AccountSettings


def discord(settings: AccountSettings) -> OAuth2Provider:
    return OAuth2Provider(
        name="discord",
        label="Discord",
        client_id=settings.DISCORD_CLIENT_ID,
        client_secret=settings.DISCORD_CLIENT_SECRET,
        scope="identify email",
        settings=settings,
        authorize_url=settings.DISCORD_AUTHORIZE_URL,
        token_url=settings.DISCORD_TOKEN_URL,
        api_url=settings.DISCORD_API_URL,
        read=read,
    )


def read(ask: Ask, issuer: str) -> Identity:
    """By the account's snowflake, which is text; the address counts where Discord has verified it."""
    user = ask("/users/@me")
    email = str(user["email"]) if user.get("verified") is True and user.get("email") else None
    return identity(issuer=issuer, subject=user["id"], names=(user.get("username"),), email=email)
