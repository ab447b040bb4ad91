"""Claims: which of them a scope opens (OpenID Connect Core §5.4)."""

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import UserInfo

STANDARD_CLAIMS = (
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "email",
    "email_verified",
    "phone_number",
    "phone_number_verified",
    "address",
)
"""What account knows about people; discovery names these."""


def claims_for(*, sub: str, claims: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The claims of a person that these scopes open; unknown values are left out, never null (§5.3.2)."""
    known = {name: value for name, value in claims.items() if value is not None}
    return {**UserInfo(known).filter(scope), "sub": sub}
