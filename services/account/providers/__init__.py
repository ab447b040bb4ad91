"""Accounts elsewhere that sign people in: GitHub, Discord, and every OpenID Connect issuer that settings name."""

from flask import Flask, current_app

from libs.guard.breakers import Breakers
from services.account.providers.discord import discord
from services.account.providers.github import github
from services.account.providers.openid import openid
from services.account.providers.provider import (
    Identity,
    Provider,
    ProviderAway,
    ProviderError,
    Trip,
)
from services.account.settings import AccountSettings

__all__ = [
    "Identity",
    "Provider",
    "ProviderAway",
    "ProviderError",
    "Trip",
    "find_provider",
    "init_providers",
    "label_of",
    "providers",
]


def init_providers(app: Flask, settings: AccountSettings, breakers: Breakers) -> None:
    """Those that the settings give a client id, in the order in which pages show them."""
    declared: list[Provider] = []
    if settings.GITHUB_CLIENT_ID:
        declared.append(github(settings))
    if settings.DISCORD_CLIENT_ID:
        declared.append(discord(settings))
    declared += [openid(settings, issuer) for issuer in settings.openid_issuers]
    for provider in declared:
        provider.breaker = breakers.declare(f"{provider.name}_oauth")
    app.extensions["providers"] = {provider.name: provider for provider in declared}


def providers() -> dict[str, Provider]:
    """The current app's providers by name."""
    found: dict[str, Provider] = current_app.extensions["providers"]
    return found


def find_provider(name: str) -> Provider | None:
    return providers().get(name)


def label_of(name: str) -> str:
    """What people call a provider, be it one that is no longer declared."""
    provider = find_provider(name)
    return provider.label if provider else name.capitalize()
