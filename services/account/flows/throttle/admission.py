"""One admission per try: asked after the person's standing was read and before anything is checked."""

from dataclasses import dataclass

from flask import Flask, current_app
from flask_babel import gettext

from libs.guard.ratelimit import TooManyTries, hashed_user, wait_in_words
from libs.service import parts_of
from services.account.flows.factors import Standing
from services.account.flows.login_events import count_failure, record_failure
from services.account.flows.throttle.counting import Counts
from services.account.flows.throttle.scopes import SCOPES, Buckets, buckets_of
from services.account.flows.visitor import Visitor


class Throttled(TooManyTries):
    """Too many tries at this account, from here, or altogether; whoever is there, the words are the same."""


@dataclass(frozen=True)
class Admission:
    """A try that was admitted, and counted as a failure until it is given back."""

    buckets: Buckets
    is_here: bool

    def give_back(self) -> None:
        """It was no failure."""
        _counts().give_back(self.buckets, is_here=self.is_here)


def init_throttle(app: Flask) -> None:
    parts = parts_of(app)
    parts.metrics.declare_scopes(SCOPES)
    app.extensions["throttle"] = Counts(lambda: parts.redis, parts.enhanced)


def admit(
    scope: str,
    *,
    visitor: Visitor,
    standing: Standing | None,
    typed: str | None = None,
    method: str | None = None,
) -> Admission:
    """Count a try of this scope (a row of SCOPES), in one round trip to Redis.

    `standing` is whose account it is about; `typed` the address in its one form where that is nobody's, or where no
    standing was read: it counts in the same way. `method` names a try to sign in, whose refusal is written down as
    a login event; None is for anything else. Whoever succeeds gives the admission back. Raises Throttled.
    """
    parts = parts_of(current_app)
    account = standing.user.email_normalised if standing else typed
    buckets = buckets_of(
        scope,
        visitor=visitor,
        account=hashed_user(parts.settings, account) if account else None,
        is_known_device=standing is not None and standing.is_known_device,
        overall=parts.settings.LOGIN_TRIES_PER_MINUTE if scope == "login" else None,
    )
    verdict = _counts().admit(buckets)
    if not verdict.wait_s:
        return Admission(buckets, verdict.is_here)
    parts.metrics.rate_limit_triggered.labels(scope=scope).inc()
    if method and verdict.is_flood:
        count_failure("throttled", method=method)
    elif method:
        user_id = standing.user.id if standing else None
        record_failure("throttled", method=method, visitor=visitor, user_id=user_id, typed=typed)
    words = [wait_in_words(verdict.wait_s)]
    if method and SCOPES[scope].is_guess:
        words.append(
            gettext(
                "If it was not you who tried: your account is safe. You can sign in from a browser that you have "
                "used before, or have a link mailed to you that sets a new password."
            )
        )
    raise Throttled(" ".join(words), retry_after=verdict.wait_s)


def _counts() -> Counts:
    counts: Counts = current_app.extensions["throttle"]
    return counts
