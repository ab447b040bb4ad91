"""Where an address is: its country, when GEOIP_DATABASE names a file that knows."""

from functools import cache

import maxminddb
from flask import current_app
from flask_babel import get_locale

from libs.observe.logs import get_logger
from libs.service import parts_of

log = get_logger("account.places")


def country_of(ip: str) -> str | None:
    """ISO 3166-1 alpha-2 of the country that an address belongs to; None where nobody knows."""
    path = parts_of(current_app).settings.GEOIP_DATABASE
    if not path:
        return None
    try:
        found = _database(path).get(ip)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        # A country is a courtesy: nobody waits at the door for it.
        log.warning("country_not_known", error=type(error).__name__)
        return None
    country = found.get("country") if isinstance(found, dict) else None
    code = country.get("iso_code") if isinstance(country, dict) else None
    return code if isinstance(code, str) and len(code) == 2 else None


def country_name(code: str) -> str:
    """The country in the language of the moment; its code where that language has no name for it."""
    locale = get_locale()
    name = locale.territories.get(code) if locale is not None else None
    return name or code


@cache
def _database(path: str) -> maxminddb.Reader:
    return maxminddb.open_database(path)
