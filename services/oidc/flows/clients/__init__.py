"""Clients: what can be chosen for one, how one is made and changed, and how the protocol sees it."""

from services.oidc.flows.clients.changing import (
    DEFAULT_SCOPES,
    SECRET_OVERLAP,
    USUAL,
    ClientChanged,
    CreatedClient,
    UnknownClient,
    create_client,
    delete_client,
    ensure_client,
    get_client,
    list_clients,
    rotate_secret,
    update_client,
    verify_secret,
)
from services.oidc.flows.clients.metadata import (
    BY_METADATA,
    BY_NAME,
    SETTINGS,
    InvalidClient,
    Setting,
    settings_of,
)

__all__ = [
    "BY_METADATA",
    "BY_NAME",
    "DEFAULT_SCOPES",
    "SECRET_OVERLAP",
    "SETTINGS",
    "USUAL",
    "ClientChanged",
    "CreatedClient",
    "InvalidClient",
    "Setting",
    "UnknownClient",
    "create_client",
    "delete_client",
    "ensure_client",
    "get_client",
    "list_clients",
    "rotate_secret",
    "settings_of",
    "update_client",
    "verify_secret",
]
