"""What a client proves itself with: secrets, keys, the document of its sector."""

from datetime import timedelta

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
            what="The secret travels in the form, where logs and error reports pick it up.",
            fix="clients update --auth-method client_secret_basic, or private_key_jwt",
            why="RFC 6749 §2.3.1",
        )
    living = living_secrets(client)
    if not living:
        yield Found(
            about="secrets",
            what="It has no secret that holds, so that it cannot prove itself.",
            fix="clients rotate-secret",
            why="RFC 6749 §2.3.1",
        )
        return
    newest, now = living[-1], utcnow()
    if ends_soon(newest):
        yield Found(
            about="secrets",
            what=f"Its newest secret ends on {newest.expires_at:%Y-%m-%d}, and none follows.",
            fix="clients rotate-secret, and hand the new one over before then",
            why="RFC 7591 §3.2.1",
        )
    if now - newest.created_at > OLD_SECRET:
        yield Found(
            about="secrets",
            what=f"Its secret is of {newest.created_at:%Y-%m-%d}.",
            fix="clients rotate-secret",
            why="RFC 9700 §2.5",
        )
    if newest.last_used_at is None and now - newest.created_at > UNUSED:
        yield Found(
            level="note",
            about="secrets",
            what=f"Its newest secret, of {newest.created_at:%Y-%m-%d}, has not been used yet.",
            fix="Hand it over; or, if nobody needs the client, clients update --disable",
            why="RFC 9700 §2.5",
        )
    for older in living[:-1]:
        yield Found(
            level="note",
            about="secrets",
            what=f"Two secrets hold; the older one ends on {older.expires_at:%Y-%m-%d %H:%M}."
            if older.expires_at
            else "Two secrets hold.",
            fix="See that the app uses the newer one by then",
            why="RFC 9700 §2.5",
        )


def keys(client: Client) -> Findings:
    jwks = client.jwks
    if client.jwks_uri is not None:
        try:
            jwks = fetch_json(client.jwks_uri)
        except CannotFetch as error:
            yield Found(
                about="jwks_uri",
                what=f"Its keys cannot be read: {error}.",
                fix="Make the address answer, or: clients update --jwks @FILE --unset jwks-uri",
                why="RFC 7591 §2",
            )
            return
        if not is_public_key_set(jwks):
            yield Found(
                about="jwks_uri",
                what="What is at the address is no JWKS of public keys.",
                fix='Serve {"keys": […]} there, with public halves alone',
                why="RFC 7517 §5",
            )
            return
    for key in (jwks or {}).get("keys", ()):
        # A base64url digit is six bits.
        if key.get("kty") == "RSA" and len(key.get("n", "").rstrip("=")) * 6 < RSA_BITS:
            yield Found(
                about="jwks_uri" if client.jwks_uri else "jwks",
                what=f"Its RSA key {str(key.get('kid', ''))[:50]} is shorter than {RSA_BITS} bits.",
                fix="Make a longer one, or one of EC P-256",
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
            fix="Serve a JSON array of all its redirect URIs there",
            why="OpenID Connect Registration §5",
        )
