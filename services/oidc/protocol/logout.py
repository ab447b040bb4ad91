"""What a client may ask for when it signs a person out (OpenID Connect RP-Initiated Logout §2, §3)."""

from collections.abc import Mapping
from urllib.parse import urlencode

from libs.people.sessions import Session
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.logout import Departure
from services.oidc.flows.pairwise import session_id_for, subject_for
from services.oidc.protocol.tokens import read_id_token_hint

LONGEST_LOCALES = 100
LONGEST_HINT = 320
"""As long as an e-mail address may be."""


def read_wish(parameters: Mapping[str, str], *, repeated: bool, issuer: str) -> Departure:
    """Read a request. A hint that is not ours, or is another client's, proves nothing and redirects nowhere.

    One beside an address that the client did not register says whom the question is about, and does not answer it: a
    request that is wrong in part ends nothing by itself (§4).
    """
    ui_locales = parameters.get("ui_locales", "")[:LONGEST_LOCALES] or None
    if repeated:
        return Departure(ui_locales=ui_locales)
    hint = parameters.get("id_token_hint")
    claims = read_id_token_hint(hint, issuer=issuer) if hint else None
    named = parameters.get("client_id")
    is_contradictory = (hint is not None and claims is None) or (
        claims is not None and named is not None and claims["aud"] != named
    )
    client = None if is_contradictory else find_client(claims["aud"] if claims else named)
    if client is None:
        return Departure(ui_locales=ui_locales)
    target = parameters.get("post_logout_redirect_uri")
    logout_hint = parameters.get("logout_hint", "")[:LONGEST_HINT] or None
    if target is not None and target not in client.post_logout_redirect_uris:
        named_by_hint = claims["sub"] if claims else None
        return Departure(
            client_id=client.client_id, logout_hint=named_by_hint or logout_hint, ui_locales=ui_locales
        )
    if target is not None and "state" in parameters:
        separator = "&" if "?" in target else "?"
        target += separator + urlencode({"state": parameters["state"]})
    return Departure(
        client_id=client.client_id,
        sub=claims["sub"] if claims else None,
        sid=claims.get("sid") if claims else None,
        logout_hint=logout_hint,
        redirect_uri=target,
        ui_locales=ui_locales,
    )


def who_leaves(departure: Departure, client: RegisteredClient | None, held: list[Session]) -> Session | None:
    """Of the accounts that a browser is signed in to, the one that the client's ID token names.

    The person counts, and the session where one person is there twice: whoever signed in anew since then is meant too.
    """
    if client is None or departure.sub is None:
        return None
    theirs = [one for one in held if subject_for(client, one.sub) == departure.sub]
    exact = [one for one in theirs if session_id_for(client, one.sid) == departure.sid]
    return next(iter(exact or theirs), None)


def who_is_asked(departure: Departure, client: RegisteredClient | None, held: list[Session]) -> Session:
    """The account that the question is about: that of the `logout_hint`, else the current one."""
    for one in held:
        known_as = [one.claims.get("email")]
        if client is not None:
            known_as += [subject_for(client, one.sub), session_id_for(client, one.sid)]
        if departure.logout_hint is not None and departure.logout_hint in known_as:
            return one
    return held[0]
