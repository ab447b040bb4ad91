"""How a client signs people in, what it may do, and where it sends people."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext

from libs.database import utcnow
from libs.people.bearer.scopes import API_SCOPES
from libs.service import parts_of
from libs.settings import is_loopback
from services.oidc.extensions import db
from services.oidc.flows.clients.checking.findings import Findings, Found
from services.oidc.models import Client, Grant
from services.oidc.scopes import OFFLINE_ACCESS

UNUSED = timedelta(days=30)
"""A registration that nobody has used for so long since it was made is pointed out."""
MANY_HOSTS = 3
FORWARDING = frozenset(
    {"next", "url", "uri", "goto", "target", "redirect", "redirect_uri", "return_to", "continue"}
)
"""Names of parameters by which a page sends people on."""


def code_flow(client: Client) -> Findings:
    if "authorization_code" in client.grants and not client.require_pkce:
        yield Found(
            about="require_pkce",
            what=gettext("A code that is stolen or injected can be redeemed: PKCE is not required."),
            fix=gettext("Let the app send code_challenge, then: clients update --pkce"),
            why="RFC 9700 §2.1.1",
        )
    if client.request_object_signing_alg == "none":
        yield Found(
            about="request_object_signing_alg",
            what=gettext("Its request objects may be unsigned, so that they protect nothing."),
            fix=gettext("Sign them, then: clients update --unset request-object-signing-alg"),
            why="RFC 9101 §10.2",
        )


def refreshing(client: Client) -> Findings:
    refreshes = "refresh_token" in client.grants
    if refreshes and not client.rotate_refresh_tokens:
        yield Found(
            about="rotate_refresh_tokens",
            what=gettext(
                "A refresh token that leaks works until it expires, and nobody notices: it does not rotate."
            ),
            fix="clients update --rotate",
            why="RFC 9700 §4.14.2",
        )
    if OFFLINE_ACCESS in client.scopes and not refreshes:
        yield Found(
            about="scopes",
            what=gettext(
                "It may ask for offline_access and can make nothing of it: it has no refresh tokens."
            ),
            fix=gettext("Leave offline_access out of --scope, or add --grant refresh_token"),
            why="OpenID Connect Core §11",
        )
    elif OFFLINE_ACCESS in client.scopes and client.auth_method == "none":
        yield Found(
            level="note",
            about="scopes",
            what=gettext("It is public and may keep access after people have signed out."),
            fix=gettext("Leave offline_access out of --scope, unless the app works while nobody is there"),
            why="RFC 9700 §4.14.1",
        )


def redirect_uris(client: Client) -> Findings:
    hosts = {urlsplit(uri).hostname or "" for uri in client.redirect_uris}
    for uri in client.redirect_uris:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if client.application_type == "web" and _is_own_machine(host):
            yield Found(
                about="redirect_uris",
                what=gettext(
                    "%(uri)s is the visitor's own machine: whatever listens there gets the codes.", uri=uri
                ),
                fix=gettext("Leave it out of --redirect-uri; a client of its own serves development"),
                why="RFC 8252 §8.3",
            )
        elif host == "localhost":
            yield Found(
                about="redirect_uris",
                what=gettext(
                    "%(uri)s goes by a name, which may lead elsewhere than to this machine.", uri=uri
                ),
                fix=gettext("Register http://127.0.0.1/… and http://[::1]/… instead"),
                why="RFC 8252 §8.3",
            )
        elif parts.scheme not in ("http", "https"):
            yield Found(
                level="note",
                about="redirect_uris",
                what=gettext(
                    "%(scheme)s: can be claimed by another app on the same device.", scheme=parts.scheme
                ),
                fix=gettext("Register an https address that the app claims"),
                why="RFC 8252 §8.1",
            )
        if "*" in uri:
            yield Found(
                about="redirect_uris",
                what=gettext(
                    "%(uri)s looks like a pattern; addresses are compared letter by letter.", uri=uri
                ),
                fix=gettext("Register each address in full"),
                why="RFC 9700 §4.1.3",
            )
        if FORWARDING & {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}:
            yield Found(
                about="redirect_uris",
                what=gettext("%(uri)s seems to send people on, and codes with them.", uri=uri),
                fix=gettext("Register a page that goes nowhere else; carry the target in `state`"),
                why="RFC 9700 §4.11.1",
            )
    if len(hosts) > MANY_HOSTS:
        yield Found(
            level="note",
            about="redirect_uris",
            what=gettext(
                "It returns to %(count)s hosts: one of them that is lost gets everybody's codes.",
                count=len(hosts),
            ),
            fix=gettext("Register a client for each site"),
            why="RFC 9700 §4.1",
        )


def _is_own_machine(host: str) -> bool:
    """Whether a name means the very machine that asks; those under .test do in tests alone."""
    return is_loopback(host) and not host.endswith(".test")


def first_party(client: Client) -> Findings:
    if not client.is_first_party:
        return
    own = (urlsplit(parts_of(current_app).settings.PUBLIC_URL).hostname or "").lower()
    # id.updspace.com speaks for updspace.com; updspace.com, or a name of two parts, for itself.
    site = own.partition(".")[2] if own.count(".") > 1 else own
    foreign = {
        host
        for uri in client.redirect_uris
        if (host := urlsplit(uri).hostname) and host != site and not host.endswith("." + site)
        if not _is_own_machine(host)
    }
    for host in sorted(foreign):
        yield Found(
            about="is_first_party",
            what=gettext(
                "Nobody is asked for consent, and it returns to %(host)s, which is not ours by its name.",
                host=host,
            ),
            fix=gettext("clients update --third-party, or an address of ours"),
            why="RFC 6749 §10.2",
        )


def logout(client: Client) -> Findings:
    if client.frontchannel_logout_uri and not client.backchannel_logout_uri:
        yield Found(
            level="note",
            about="frontchannel_logout_uri",
            what=gettext(
                "It learns of a sign-out in a frame alone, where browsers keep its cookies from it."
            ),
            fix=gettext("Register a --backchannel-logout-uri"),
            why="OpenID Connect Front-Channel Logout §4.1",
        )


def power(client: Client) -> Findings:
    powers = sorted(set(client.scopes) & set(API_SCOPES))
    if powers and "client_credentials" in client.grants:
        yield Found(
            level="note",
            about="scopes",
            what=gettext(
                "It acts by itself, with nobody's consent, as far as %(scopes)s lets it.",
                scopes=", ".join(powers),
            ),
            fix=gettext("Leave out what it does not need"),
            why="RFC 9700 §2.3",
        )


def registered_itself(client: Client) -> Findings:
    if client.registration_token_digest is None or utcnow() - client.created_at < UNUSED:
        return
    is_used = db.fetch_one(sa.select(Grant.id).where(Grant.client_id == client.client_id).limit(1))
    if is_used is None:
        yield Found(
            level="note",
            about="client_id",
            what=gettext(
                "It registered itself on %(day)s, and nobody signs in to it.",
                day=f"{client.created_at:%Y-%m-%d}",
            ),
            fix="clients delete",
            why="RFC 7591 §5",
        )
