"""Errors at endpoints that only programs call: always JSON in the form of RFC 6749 §5.2."""

import re
from collections.abc import Sequence
from typing import Any

import redis
import sqlalchemy.exc
from flask import Blueprint, Response, json
from werkzeug.exceptions import HTTPException

from libs.observe.logs import correlation_id, get_logger
from libs.people.access import protocol
from libs.web.problems import Unavailable
from services.oidc.protocol.limits import TooManyRequests

log = get_logger("OIDC.errors")
RETRY_AFTER_S = 5
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def answer_in_json(blueprint: Blueprint) -> None:
    """Let the blueprint's failures speak OAuth; a 500 shows a correlation id and nothing else."""

    @blueprint.errorhandler(TooManyRequests)
    def _too_many(error: TooManyRequests) -> Response:
        return too_many(error)

    @blueprint.errorhandler(sqlalchemy.exc.OperationalError)
    @blueprint.errorhandler(sqlalchemy.exc.InterfaceError)
    @blueprint.errorhandler(sqlalchemy.exc.InternalError)  # a read-only server says this
    @blueprint.errorhandler(sqlalchemy.exc.TimeoutError)
    @blueprint.errorhandler(redis.RedisError)
    def _away(error: Exception) -> Response:
        log.error("store_away", error=type(error).__name__)
        return oauth_error(503, "temporarily_unavailable", retry_after=RETRY_AFTER_S)

    @blueprint.errorhandler(Unavailable)
    def _unavailable(error: Unavailable) -> Response:
        return oauth_error(503, "temporarily_unavailable", retry_after=error.retry_after or RETRY_AFTER_S)

    @blueprint.errorhandler(HTTPException)
    def _refused(error: HTTPException) -> Response:
        # A body that is too long, say: raised wherever the request is first read.
        status = error.code or 400
        return oauth_error(status, "invalid_request" if status < 500 else "server_error")

    @blueprint.errorhandler(Exception)
    def _unexpected(error: Exception) -> Response:
        log.error("unexpected_error", exc_info=error)
        return oauth_error(500, "server_error", correlation_id=correlation_id())


def refuse_other_methods(blueprint: Blueprint, path: str, *, allowed: Sequence[str] = ("POST",)) -> None:
    """Answer other methods than these in JSON too: programs that use the wrong one read nothing else."""

    @protocol("reads nothing and does nothing")
    def refuse(**_: str) -> Response:
        words = f"This endpoint is called by {' and '.join(allowed)}."
        response = oauth_error(405, "invalid_request", error_description=words)
        response.headers["Allow"] = ", ".join(allowed)
        return response

    blueprint.add_url_rule(
        path,
        endpoint="other methods of " + re.sub(r"\W+", " ", path).strip(),
        view_func=refuse,
        methods=[method for method in METHODS if method not in allowed],
        provide_automatic_options=False,
    )


def too_many(error: TooManyRequests) -> Response:
    return oauth_error(429, str(error.error), retry_after=error.retry_after)


def oauth_error(status: int, error: str, *, retry_after: Any = None, **more: Any) -> Response:
    response = Response(json.dumps({"error": error, **more}), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
