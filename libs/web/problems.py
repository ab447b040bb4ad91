"""Problems: domain errors with a status, shown as RFC 9457 JSON to programs and as a page to people."""

from collections.abc import Mapping
from typing import Any

import redis
import sqlalchemy.exc
from flask import Flask, Response, json, render_template, request
from flask_babel import gettext, lazy_gettext
from werkzeug.exceptions import HTTPException

from libs.observe.logs import correlation_id, get_logger

log = get_logger("libs.problems")


class Problem(Exception):
    """An error that a person or a client is told about. Subclasses sit beside the flow that raises them.

    `title` and `detail` are public words; private detail goes into the cause (`raise X from Y`) and the log.
    `errors` maps a field to its message.
    """

    status = 400
    slug = "invalid-request"
    title: Any = "Invalid request"

    def __init__(
        self,
        detail: Any = None,
        *,
        errors: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(str(detail) if detail is not None else self.slug)
        self.detail = detail
        self.errors = dict(errors or {})
        self.retry_after = retry_after
        self.headers = dict(headers or {})


class Unavailable(Problem):
    """Something that the answer needs is away; trying again soon helps."""

    status, slug, title = 503, "unavailable", lazy_gettext("We are having a short interruption")


def wants_json() -> bool:
    """Whether a program asks: an API path, or a client that prefers JSON to HTML."""
    if request.path.startswith("/api/"):
        return True
    accept = request.accept_mimetypes
    return (
        accept["application/json"] > accept["text/html"]
        or accept["application/problem+json"] > accept["text/html"]
    )


def problem_response(
    status: int,
    slug: str,
    title: Any,
    detail: Any = None,
    *,
    errors: Mapping[str, Any] | None = None,
    retry_after: int | None = None,
) -> Response:
    """An error answer in the form its reader understands."""
    if wants_json():
        body = {"type": f"urn:updspace-id:problem:{slug}", "title": str(title), "status": status}
        if detail:
            body["detail"] = str(detail)
        if errors:
            body["errors"] = {field: str(message) for field, message in errors.items()}
        body["correlation_id"] = correlation_id()
        response = Response(json.dumps(body), status, content_type="application/problem+json")
    else:
        page = render_template(
            "problem.html", status=status, title=title, detail=detail, correlation_id=correlation_id()
        )
        response = Response(page, status, content_type="text/html; charset=utf-8")
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def init_problems(app: Flask) -> None:
    """Answer every error of the app; a 500 shows a correlation id and nothing else."""

    @app.errorhandler(Problem)
    def _problem(error: Problem) -> Response:
        answer = problem_response(
            error.status,
            error.slug,
            error.title,
            error.detail,
            errors=error.errors,
            retry_after=error.retry_after or (5 if error.status == 503 else None),
        )
        answer.headers.update(error.headers)
        return answer

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        words = {
            400: gettext("That request could not be understood"),
            403: gettext("You may not open this page"),
            404: gettext("There is nothing here"),
            405: gettext("This page does not take that kind of request"),
            413: gettext("That is too much at once"),
            429: gettext("Too many tries in a short time"),
        }
        details = {
            404: gettext("The address may be mistyped, or what was here has moved."),
            429: gettext("Wait a little, then try again."),
        }
        slug = (error.name or "error").lower().replace(" ", "-")
        if error.response is not None and status < 400:
            return error.response  # type: ignore[return-value]  # a redirect that routing asked for
        other = words[400] if status < 500 else gettext("Something went wrong on our side")
        answer = problem_response(
            status,
            slug,
            words.get(status, other),
            details.get(status),
            retry_after=5 if status == 503 else None,
        )
        own = error.response.headers.items() if error.response is not None else error.get_headers()
        for name, value in own:
            if name.lower() in ("allow", "retry-after", "www-authenticate"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(sqlalchemy.exc.DataError)
    @app.errorhandler(UnicodeEncodeError)
    @app.errorhandler(ValueError)
    def _cannot_be_kept(error: Exception) -> Response:
        """A NUL, half a surrogate pair or a number beyond all bounds, sent from outside, is no fault of ours."""
        is_theirs = isinstance(error, (sqlalchemy.exc.DataError, UnicodeEncodeError)) or "NUL (0x00)" in str(
            error
        )
        if not is_theirs:
            return _unexpected(error)
        log.warning("input_cannot_be_kept", error=type(error).__name__, exc_info=error)
        return problem_response(
            400, "invalid-request", gettext("That request could not be understood"), retry_after=None
        )

    @app.errorhandler(sqlalchemy.exc.OperationalError)
    @app.errorhandler(sqlalchemy.exc.InterfaceError)
    @app.errorhandler(sqlalchemy.exc.InternalError)  # a read-only server says this
    @app.errorhandler(sqlalchemy.exc.TimeoutError)
    @app.errorhandler(redis.RedisError)
    def _away(error: Exception) -> Response:
        cause = getattr(error, "orig", error)
        # A store that is away needs no trace; a statement, script or lock that it ended does.
        answered = getattr(cause, "pgcode", None) or isinstance(error, redis.ResponseError)
        log.error(
            "store_away",
            error=type(error).__name__,
            kind=type(cause).__name__,
            exc_info=error if answered else None,
        )
        return problem_response(
            503,
            Unavailable.slug,
            Unavailable.title,
            gettext("Nothing that you did before is lost. Please try again in a moment."),
            retry_after=5,
        )

    @app.errorhandler(Exception)
    def _unexpected(error: Exception) -> Response:
        log.error("unexpected_error", exc_info=error)
        return problem_response(
            500,
            "internal-error",
            gettext("Something went wrong on our side"),
            gettext("We have a record of it under the number below. Please try again."),
        )
