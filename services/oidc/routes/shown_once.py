"""A new secret on its way to the page that shows it, once: sealed, for one person's session, for two minutes.

So the answer to the form is a redirect as everywhere, no address holds a secret, and a reload shows none.
"""

from datetime import timedelta

import redis
from flask import current_app

from libs.guard.keyring import CannotOpen
from libs.observe.logs import get_logger
from libs.people.access import current_session
from libs.service import parts_of

log = get_logger("OIDC.clients")

LIFETIME = timedelta(minutes=2)


def keep(client_id: str, secret: str) -> bool:
    """Keep the client's new secret for the page that comes next; False where that cannot be."""
    parts, place = parts_of(current_app), _place(client_id)
    try:
        parts.redis.set(place, parts.data_keys.seal(secret.encode(), place), ex=LIFETIME)
    except redis.RedisError as error:
        log.warning("secret_not_kept", client_id=client_id, error=type(error).__name__)
        return False
    return True


def take(client_id: str) -> str | None:
    """The secret that was just made for the client by this person; from then on nobody has it any more."""
    parts, place = parts_of(current_app), _place(client_id)
    try:
        sealed = parts.redis.getdel(place)
        return parts.data_keys.open(str(sealed), place).decode() if sealed else None
    except (redis.RedisError, CannotOpen) as error:
        log.warning("secret_not_shown", client_id=client_id, error=type(error).__name__)
        return None


def _place(client_id: str) -> str:
    return f"new_secret:{current_session().sid}:{client_id}"
