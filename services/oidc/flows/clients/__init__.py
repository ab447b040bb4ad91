"""Clients: what can be chosen for one, how one is made and changed, and how the protocol sees it."""

from services.oidc.flows.clients.changing import (
    DEFAULT_SCOPES,
    USUAL,
    ChangedClient,
    ClientChanged,
    change_client,
    create_client,
    ensure_client,
    update_client,
)
from services.oidc.flows.clients.ending import delete_client
from services.oidc.flows.clients.finding import UnknownClient, get_client, list_clients
from services.oidc.flows.clients.metadata import (
    BY_METADATA,
    BY_NAME,
    SETTINGS,
    InvalidClient,
    Setting,
    settings_of,
)
from services.oidc.flows.clients.secrets import SECRET_OVERLAP, rotate_secret, verify_secret

__all__ = [
    "BY_METADATA",
    "BY_NAME",
    "DEFAULT_SCOPES",
    "SECRET_OVERLAP",
    "SETTINGS",
    "USUAL",
    "ChangedClient",
    "ClientChanged",
    "InvalidClient",
    "Setting",
    "UnknownClient",
    "change_client",
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
