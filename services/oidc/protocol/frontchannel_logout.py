"""Front-channel logout (OpenID Connect Front-Channel Logout 1.0): the addresses that a signed-out browser visits.

It reaches what the browser lets it reach: where third parties get no cookies, a frame ends nothing. Back-channel logout
does not depend on that.
"""

from collections.abc import Collection
from urllib.parse import urlencode

import sqlalchemy as sa

from libs.observe.logs import get_logger
from services.oidc.flows.logouts import SignedOut, clients_to_show
from services.oidc.flows.pairwise import session_id_for

log = get_logger("OIDC.logout")

MOST_FRAMES = 20
"""A browser is not made to visit more; the newest sign-ins come first."""


def frames_of(ended: Collection[SignedOut], *, issuer: str) -> list[str]:
    """An address for each client of these sessions that has one, with `iss` and `sid` (§3)."""
    try:
        found = clients_to_show(ended, limit=MOST_FRAMES)
    except sa.exc.SQLAlchemyError as error:
        # The person has signed out: what cannot be read now does not hold them up.
        log.warning("frames_not_read", error=type(error).__name__)
        return []
    frames = []
    for client, sid in found:
        uri = client.frontchannel_logout_uri or ""
        separator = "&" if "?" in uri else "?"
        frames.append(uri + separator + urlencode({"iss": issuer, "sid": session_id_for(client, sid)}))
    return frames
