"""Advice: what whoever runs an app has to do about a refusal, as far as its reason tells."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext

from services.oidc.models import Refusal

_ADDRESSES = re.compile(r"at character (\d{1,5}): sent (\S+), registered (\S+)")


@dataclass(frozen=True)
class Kind:
    """A kind of refusal: by its error code and by words of its reason, both patterns; and what helps."""

    error: str
    reason: str
    words: Any


KINDS: Sequence[Kind] = (
    Kind(
        "",
        r"redirect_uri (differs|mismatch)|did not register the address",
        lazy_gettext(
            "Send exactly one of the registered redirect URIs, or register the one that is sent: every character "
            "counts, a slash at the end, too."
        ),
    ),
    Kind(
        "",
        r"has no redirect_uri",
        lazy_gettext("Register a redirect URI for the app."),
    ),
    Kind(
        "",
        r"is not registered\.$|unknown client",
        lazy_gettext("The client_id is mistyped, or the app was deleted or disabled."),
    ),
    Kind(
        "invalid_grant",
        r"verifier|challenge|PKCE",
        lazy_gettext(
            "The code_verifier must be the very one whose SHA-256 was sent as code_challenge, and of the same browser."
        ),
    ),
    Kind(
        "invalid_request",
        r"code_challenge|PKCE",
        lazy_gettext("Use PKCE with code_challenge_method=S256, as every current library does by itself."),
    ),
    Kind(
        "invalid_client",
        "",
        lazy_gettext(
            "The app proved itself wrongly: compare its secret by `clients verify-secret`, or its keys, and its way "
            "to prove itself with the one that it is registered for."
        ),
    ),
    Kind(
        "invalid_grant",
        "",
        lazy_gettext(
            "A code works once and for a minute; a refresh token ends with its session, its consent, its rotation or "
            "its life. The app starts a new sign-in."
        ),
    ),
    Kind(
        "invalid_scope",
        "",
        lazy_gettext("Allow the app the scopes that it asks for, or let it ask for fewer."),
    ),
    Kind(
        "invalid_target",
        "",
        lazy_gettext("Register the resource, or let the app name one that its scopes are of."),
    ),
    Kind(
        "unauthorized_client",
        "",
        lazy_gettext("Allow the app this grant type or response type, or let it use another."),
    ),
    Kind(
        "login_required|consent_required|interaction_required|account_selection_required",
        "",
        lazy_gettext("Nothing is broken: the app asked with prompt=none, and has to ask again without it."),
    ),
    Kind(
        "access_denied",
        "",
        lazy_gettext("The person said no, or is none of those who may use this app."),
    ),
    Kind(
        "slow_down|authorization_pending",
        "",
        lazy_gettext("Nothing is broken: the device has to wait, and to ask less often."),
    ),
    Kind(
        "temporarily_unavailable|server_error",
        "",
        lazy_gettext("The failure is ours: look for the request id in the logs, and at /health."),
    ),
    Kind(
        "invalid_request.*|unsupported_.*|request_.*",
        "",
        lazy_gettext("The app sends what the specification does not allow: the reason names it."),
    ),
)
"""The first that fits is said."""


def advice_for(refusal: Refusal) -> Any:
    """What to do, in words; None where nobody knows."""
    reason = f"{refusal.description or ''}\n{refusal.detail or ''}"
    for kind in KINDS:
        if re.fullmatch(kind.error or ".*", refusal.error) and re.search(kind.reason, reason, re.MULTILINE):
            return kind.words
    return None


@dataclass(frozen=True)
class Difference:
    """Two addresses that were to be the same."""

    sent: str
    registered: str
    place: int
    """Characters in front of the first that differs."""

    @property
    def caret(self) -> str:
        """A line that points at it, to stand below either address."""
        return " " * self.place + "^"


def difference_in(refusal: Refusal) -> Difference | None:
    """The addresses that a refused redirect_uri was about, where its detail names them."""
    found = _ADDRESSES.search(refusal.detail or "")
    if found is None:
        return None
    return Difference(sent=found[2], registered=found[3], place=int(found[1]) - 1)
