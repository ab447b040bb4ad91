"""Scopes: what an app may ask for, in the words of the consent page."""

from collections.abc import Collection, Iterable
from typing import Any

from flask_babel import lazy_gettext

from libs.people.bearer import API_SCOPES, OWN_SCOPES

OFFLINE_ACCESS = "offline_access"

SCOPES: dict[str, Any] = {
    "openid": lazy_gettext("know that it is you, by a number of your own"),
    "profile": lazy_gettext(
        "see your name and the rest of your profile, such as your language and time zone"
    ),
    "email": lazy_gettext("see your e-mail address"),
    "phone": lazy_gettext("see your phone number"),
    "address": lazy_gettext("see your postal address"),
    **API_SCOPES,
    OFFLINE_ACCESS: lazy_gettext("keep this access after you sign out"),
}
"""Every scope that we offer, in the order in which people are asked."""


def opens_api(scopes: Iterable[str]) -> bool:
    """Whether an access token with these is for our own APIs."""
    return any(scope in API_SCOPES for scope in scopes)


def held_by(scopes: Iterable[str], *, roles: Collection[str]) -> list[str]:
    """What of these a person with these roles can give away: without a role nothing that only staff may do."""
    return [scope for scope in scopes if roles or scope not in API_SCOPES or scope in OWN_SCOPES]


def in_words(scopes: list[str]) -> list[Any]:
    """What these scopes mean to a person, in the order of SCOPES."""
    return [words for scope, words in SCOPES.items() if scope in scopes]
