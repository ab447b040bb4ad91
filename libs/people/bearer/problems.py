"""Why an access token does not open an API, as the answer says it: by a challenge of RFC 6750 or 9470."""

from datetime import timedelta
from typing import Any

from flask_babel import lazy_gettext

from libs.web.problems import Problem, Unavailable


class NoToken(Problem):
    """Nothing was presented: the answer names the scheme and no error (RFC 6750 §3.1)."""

    status, slug, title = 401, "no-token", lazy_gettext("This needs an access token")

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api"'})


class InvalidToken(Problem):
    """Not an access token of ours for this API, or one that holds no more."""

    status, slug, title = (
        401,
        "invalid-token",
        lazy_gettext("The access token is not valid here, or no longer"),
    )

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'})


class InsufficientScope(Problem):
    """The token is good, and not enough: its scope, or the roles of its person (RFC 6750 §3.1)."""

    status, slug, title = 403, "insufficient-scope", lazy_gettext("The access token does not open this")

    def __init__(self, scope: str, detail: Any):
        challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class StaleSignIn(Problem):
    """The token opens this, and its person has to sign in anew first (RFC 9470 §3)."""

    status, slug = 401, "stale-sign-in"
    title = lazy_gettext("This needs a fresh sign-in")

    def __init__(self, max_age: timedelta):
        seconds = int(max_age.total_seconds())
        challenge = f'Bearer realm="api", error="insufficient_user_authentication", max_age="{seconds}"'
        words = lazy_gettext("Ask the issuer again, with max_age=%(seconds)s.", seconds=seconds)
        super().__init__(words, headers={"WWW-Authenticate": challenge})


class TokensUnavailable(Unavailable):
    """Redis is away and no row here can say whether the token was revoked, or the issuer's keys have not come yet."""

    slug, title = "tokens-unavailable", lazy_gettext("We cannot check access tokens right now")
