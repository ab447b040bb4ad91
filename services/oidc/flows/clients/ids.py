"""Ids of clients: what can be one, and which nobody may choose because no page and no API would reach it."""

from typing import Any

from flask_babel import lazy_gettext

from services.oidc.flows.clients.metadata import InvalidClient
from services.oidc.flows.clients.registered import CLIENT_ID

TAKEN = frozenset({"new", "refusals", "resources", "logouts", "registration-tokens"})
"""Words that stand where the id does in the addresses of /admin/clients and /api/v1/clients."""
DOTS = frozenset({".", ".."})
"""What browsers and proxies take out of an address."""
EVERY = "all"
"""What stands for every client in commands."""


def check_client_id(client_id: Any) -> str:
    """The id, which somebody has chosen for a client. Raises InvalidClient."""
    if not isinstance(client_id, str) or not CLIENT_ID.match(client_id):
        raise _refused(lazy_gettext("Each client needs a client_id: letters, digits, . _ ~ -"))
    if client_id in TAKEN | DOTS | {EVERY}:
        raise _refused(lazy_gettext("%(word)s cannot be the id of a client: choose another.", word=client_id))
    return client_id


def _refused(words: Any) -> InvalidClient:
    return InvalidClient(errors={"client_id": words})
