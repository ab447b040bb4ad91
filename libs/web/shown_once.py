"""Something new and secret on its way to the page that shows it, once: sealed, for one session, for two minutes.

So the answer to the form is a redirect as everywhere, no address holds a secret, and a reload shows none.
"""

from datetime import timedelta

import redis
from flask import current_app, flash
from flask_babel import gettext

from libs.guard.keyring import CannotOpen
from libs.observe.logs import get_logger
from libs.people.access import current_session
from libs.service import parts_of

log = get_logger("libs.shown_once")

LIFETIME = timedelta(minutes=2)


def keep(owner: str, secret: str | None) -> None:
    """Keep what was just made for a client, or under another name, for the page that comes next, or say it is lost."""
    if secret is None:
        return
    parts, place = parts_of(current_app), _place(owner)
    try:
        parts.redis.set(place, parts.data_keys.seal(secret.encode(), place), ex=LIFETIME)
    except redis.RedisError as error:
        log.warning("secret_not_kept", owner=owner, error=type(error).__name__)
        flash(gettext("The new secret could not be brought to this page. Make another one."), "bad")


def take(owner: str) -> str | None:
    """What this person has just made; from then on nobody has it any more."""
    parts, place = parts_of(current_app), _place(owner)
    try:
        sealed = parts.redis.getdel(place)
        return parts.data_keys.open(str(sealed), place).decode() if sealed else None
    except (redis.RedisError, CannotOpen) as error:
        log.warning("secret_not_shown", owner=owner, error=type(error).__name__)
        return None


def _place(owner: str) -> str:
    return f"new_secret:{current_session().sid}:{owner}"
