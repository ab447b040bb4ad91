"""The oidc service as it is, with a view that returns a constant beside its own: the reference.

Limits count as always; only what they allow is more than a bench can ask for.
"""

from typing import Any

from flask import Flask

from libs.guard.ratelimit import RateLimiter
from libs.people.access import public

_limit = RateLimiter.limit


def _generous(self: RateLimiter, scope: str, allowance: str, **options: Any) -> Any:
    return _limit(self, scope, "100000000 per minute", **options)


RateLimiter.limit = _generous  # type: ignore[method-assign]


def create_app() -> Flask:
    from services.oidc import create_app as create_issuer

    app = create_issuer()

    @app.get("/constant")
    @public
    def constant() -> str:
        return "constant"

    return app
