"""Scopes: what an app may ask for, in the words of the consent page, and the claims that each opens."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from flask_babel import lazy_gettext

from libs.people.bearer.scopes import API_SCOPES, OWN_SCOPES

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


SCOPE_CLAIMS: Mapping[str, tuple[str, ...]] = {
    "profile": (
        "name",
        "given_name",
        "family_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "updated_at",
    ),
    "email": ("email", "email_verified"),
    "phone": ("phone_number", "phone_number_verified"),
    "address": ("address",),
}
"""OpenID Connect Core §5.4."""
STANDARD_CLAIMS = tuple(claim for claims in SCOPE_CLAIMS.values() for claim in claims if claim != "picture")
"""What account knows about people; discovery names these."""
SCOPE_OF_CLAIM: Mapping[str, str] = {
    claim: scope for scope, claims in SCOPE_CLAIMS.items() for claim in claims
}
ROLES = ("admin", "reviewer", "support")
SOURCES = frozenset({*STANDARD_CLAIMS, "roles"})
"""What a claim of a client's own may be taken from."""


def held_by(scopes: Iterable[str], *, roles: Collection[str]) -> list[str]:
    """What of these a person with these roles can give away: without a role nothing that only staff may do."""
    return [scope for scope in scopes if roles or scope not in API_SCOPES or scope in OWN_SCOPES]
