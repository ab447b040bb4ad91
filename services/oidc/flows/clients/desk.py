"""What staff see of a client beside its settings, and how a press of a button that comes twice acts once."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import sqlalchemy as sa
from flask import current_app

from libs.service import parts_of
from services.oidc.extensions import audit, db
from services.oidc.flows.apps import is_living
from services.oidc.flows.clients.changing import ClientChanged
from services.oidc.flows.clients.checking import Finding, findings_about
from services.oidc.flows.clients.finding import lock_client
from services.oidc.flows.clients.secrets import SECRET_OVERLAP, living_secrets, rotate_secret
from services.oidc.flows.refusals import recent
from services.oidc.models import Client, ClientSecret, Grant, Refusal

MOST_COUNTED = 10_000
"""More living grants than that are not counted one by one for a page."""
REFUSALS_SHOWN = 10
ENTRIES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What happens with a client."""

    secrets: Sequence[ClientSecret]
    """Those that still let it in, newest first."""
    grants: int
    people: int
    is_more: bool
    """Whether there are more than were counted."""
    findings: Sequence[Finding]
    """What is weak about its settings, as far as we can tell without asking its own addresses."""
    refusals: Sequence[Refusal]
    entries: Sequence[Any]
    """The newest of the audit."""


def look_at(client: Client) -> Overview:
    """What happens with the client now, and what was done to it lately."""
    living = (
        sa.select(Grant.sub)
        .where(Grant.client_id == client.client_id, *is_living())
        .limit(MOST_COUNTED + 1)
        .subquery()
    )
    counts = db.fetch_all(
        sa.select(sa.func.count(), sa.func.count(sa.distinct(living.c.sub))).select_from(living)
    )
    [(grants, people)] = counts
    return Overview(
        secrets=living_secrets(client)[::-1],
        grants=min(grants, MOST_COUNTED),
        people=people,
        is_more=grants > MOST_COUNTED,
        findings=findings_about(client, may_fetch=False),
        refusals=recent(client.client_id, limit=REFUSALS_SHOWN),
        entries=audit.entries(target=f"client:{client.client_id}", limit=ENTRIES_SHOWN),
    )


def rotate_seen_secret(
    client_id: str,
    *,
    newest: uuid.UUID | None,
    overlap: timedelta = SECRET_OVERLAP,
    lifetime: timedelta | None = None,
) -> str:
    """Give the client a new secret, if its newest one is still the one that was looked at.

    Two presses of one button would end the secret that the client lives by. Raises UnknownClient, ClientChanged,
    InvalidClient for a public client.
    """
    with db.transaction() as session:
        client = lock_client(session, client_id)
        known = max(client.secrets, key=lambda secret: secret.created_at, default=None)
        if (known.id if known else None) != newest:
            raise ClientChanged
        return rotate_secret(client_id, overlap=overlap, lifetime=lifetime)


def sign_in_address(client: Client, *, login_hint: str | None) -> str | None:
    """Where a sign-in to the client is begun by somebody else than itself (OpenID Connect Core §4)."""
    if client.initiate_login_uri is None:
        return None
    wishes = {"iss": parts_of(current_app).settings.PUBLIC_URL}
    if login_hint:
        wishes["login_hint"] = login_hint
    if client.client_uri:
        wishes["target_link_uri"] = client.client_uri
    joint = "&" if urlsplit(client.initiate_login_uri).query else "?"
    return f"{client.initiate_login_uri}{joint}{urlencode(wishes)}"
