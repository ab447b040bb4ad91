"""What a client may ask for when it signs a person out (OpenID Connect RP-Initiated Logout §2, §3)."""

from collections.abc import Mapping
from urllib.parse import urlencode

from services.oidc.flows.clients.registered import find_client
from services.oidc.flows.logout import Departure
from services.oidc.protocol.tokens import read_id_token_hint


def read_wish(parameters: Mapping[str, str], *, repeated: bool, issuer: str) -> Departure:
    """Read a request. A hint that is not ours, or is another client's, proves nothing and redirects nowhere."""
    if repeated:
        return Departure(client_id=None, sub=None, sid=None, redirect_uri=None)
    hint = parameters.get("id_token_hint")
    claims = read_id_token_hint(hint, issuer=issuer) if hint else None
    named = parameters.get("client_id")
    is_contradictory = (hint is not None and claims is None) or (
        claims is not None and named is not None and claims["aud"] != named
    )
    client = None if is_contradictory else find_client(claims["aud"] if claims else named)
    if client is None:
        return Departure(client_id=None, sub=None, sid=None, redirect_uri=None)
    target = parameters.get("post_logout_redirect_uri")
    if target not in client.post_logout_redirect_uris:
        target = None
    elif "state" in parameters:
        separator = "&" if "?" in target else "?"
        target += separator + urlencode({"state": parameters["state"]})
    return Departure(
        client_id=client.client_id,
        sub=claims["sub"] if claims else None,
        sid=claims.get("sid") if claims else None,
        redirect_uri=target,
    )
