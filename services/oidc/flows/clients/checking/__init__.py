"""Checking: a client's settings held against RFC 9700 and its neighbours; what is weak, why, and what helps.

What cannot be is refused when it is chosen (metadata.py); here is what can be and had better not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from services.oidc.flows.clients.checking import behaviour, credentials
from services.oidc.flows.clients.checking.findings import Findings
from services.oidc.flows.clients.finding import read_whole
from services.oidc.models import Client

RULES: tuple[Callable[[Client], Findings], ...] = (
    behaviour.code_flow,
    behaviour.refreshing,
    behaviour.redirect_uris,
    behaviour.first_party,
    credentials.secrets,
    credentials.keys,
    credentials.fetched_keys,
    credentials.sector,
    behaviour.logout,
    behaviour.power,
    behaviour.registered_itself,
)
FETCHING = frozenset({credentials.fetched_keys, credentials.sector})
"""Those that ask the client's own addresses, which may take a few seconds each."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know of a client's settings."""

    client_id: str
    level: str
    """weak: had better be changed; note: may be meant so."""
    about: str
    """The setting."""
    what: str
    fix: str
    why: str
    """The section that says so."""


def check_clients(client_id: str | None = None) -> list[Finding]:
    """What is weak about a client, or about all that are enabled. Raises UnknownClient."""
    found = [client for client in read_whole(client_id) if client_id is not None or client.is_enabled]
    return [finding for client in found for finding in findings_about(client)]


def findings_about(client: Client, *, may_fetch: bool = True) -> list[Finding]:
    """What every rule finds; without `may_fetch` those that go by what we know ourselves."""
    return [
        Finding(
            client_id=client.client_id,
            level=one.level,
            about=one.about,
            what=one.what,
            fix=one.fix,
            why=one.why,
        )
        for rule in RULES
        if may_fetch or rule not in FETCHING
        for one in rule(client)
    ]
