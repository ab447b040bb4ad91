"""What a client proves itself with: secrets, keys, the document of its sector."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flask_babel import gettext

from libs.database import utcnow
from services.oidc.flows.clients.checking.findings import Findings, Found
from services.oidc.flows.clients.fetching import CannotFetch, fetch_json
from services.oidc.flows.clients.metadata import InvalidClient, is_public_key_set
from services.oidc.flows.clients.registered import SECRET_METHODS
from services.oidc.flows.clients.secrets import ends_soon, living_secrets
from services.oidc.flows.clients.sectors import check_sector, fetch_sector
from services.oidc.models import Client

OLD_SECRET = timedelta(days=365)
UNUSED = timedelta(days=30)
"""A secret that nobody has used for so long since it was made is pointed out."""
RSA_BITS = 2048


def secrets(client: Client) -> Findings:
    if client.auth_method not in SECRET_METHODS:
        return
    if client.auth_method == "client_secret_post":
        yield Found(
            about="auth_method",
            what=gettext("The secret travels in the form, where logs and error reports pick it up."),
            fix=gettext("clients update --auth-method client_secret_basic, or private_key_jwt"),
            why="RFC 6749 §2.3.1",
        )
    living = living_secrets(client)
    if not living:
        yield Found(
            about="secrets",
            what=gettext("It has no secret that holds, so that it cannot prove itself."),
            fix="clients rotate-secret",
            why="RFC 6749 §2.3.1",
        )
        return
    newest, now = living[-1], utcnow()
    if ends_soon(newest):
        yield Found(
            about="secrets",
            what=gettext("Its newest secret ends on %(day)s, and none follows.", day=_day(newest.expires_at)),
            fix=gettext("clients rotate-secret, and hand the new one over before then"),
            why="RFC 7591 §3.2.1",
        )
    if now - newest.created_at > OLD_SECRET:
        yield Found(
            about="secrets",
            what=gettext("Its secret is of %(day)s.", day=_day(newest.created_at)),
            fix="clients rotate-secret",
            why="RFC 9700 §2.5",
        )
    if newest.last_used_at is None and now - newest.created_at > UNUSED:
        yield Found(
            level="note",
            about="secrets",
            what=gettext(
                "Its newest secret, of %(day)s, has not been used yet.", day=_day(newest.created_at)
            ),
            fix=gettext("Hand it over; or, if nobody needs the client, clients update --disable"),
            why="RFC 9700 §2.5",
        )
    for older in living[:-1]:
        yield Found(
            level="note",
            about="secrets",
            what=gettext(
                "Two secrets hold; the older one ends on %(moment)s.",
                moment=f"{older.expires_at:%Y-%m-%d %H:%M}",
            )
            if older.expires_at
            else gettext("Two secrets hold."),
            fix=gettext("See that the app uses the newer one by then"),
            why="RFC 9700 §2.5",
        )


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else ""


def keys(client: Client) -> Findings:
    yield from _short_keys(client.jwks or {}, about="jwks")


def fetched_keys(client: Client) -> Findings:
    if client.jwks_uri is None:
        return
    try:
        jwks = fetch_json(client.jwks_uri)
    except CannotFetch as error:
        yield Found(
            about="jwks_uri",
            what=gettext("Its keys cannot be read: %(why)s.", why=str(error)),
            fix=gettext("Make the address answer, or: clients update --jwks @FILE --unset jwks-uri"),
            why="RFC 7591 §2",
        )
        return
    if not is_public_key_set(jwks):
        yield Found(
            about="jwks_uri",
            what=gettext("What is at the address is no JWKS of public keys."),
            fix=gettext('Serve {"keys": […]} there, with public halves alone'),
            why="RFC 7517 §5",
        )
        return
    yield from _short_keys(jwks, about="jwks_uri")


def _short_keys(jwks: Mapping[str, Any], *, about: str) -> Findings:
    for key in jwks.get("keys", ()):
        # A base64url digit is six bits.
        if key.get("kty") == "RSA" and len(key.get("n", "").rstrip("=")) * 6 < RSA_BITS:
            yield Found(
                about=about,
                what=gettext(
                    "Its RSA key %(kid)s is shorter than %(count)s bits.",
                    kid=str(key.get("kid", ""))[:50],
                    count=RSA_BITS,
                ),
                fix=gettext("Make a longer one, or one of EC P-256"),
                why="RFC 7518 §3.3",
            )


def sector(client: Client) -> Findings:
    if client.sector_identifier_uri is None:
        return
    try:
        check_sector(client, fetch_sector(client.sector_identifier_uri))
    except InvalidClient as error:
        yield Found(
            about="sector_identifier_uri",
            what=str(next(iter(error.errors.values()))),
            fix=gettext("Serve a JSON array of all its redirect URIs there"),
            why="OpenID Connect Registration §5",
        )
