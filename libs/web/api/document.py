"""The OpenAPI 3.1 document of a service's API, and the app's side of serving it."""

import json
from collections.abc import Sequence
from typing import Any

import click
import flask_smorest
from flask import Flask, Response, current_app, request
from flask.cli import AppGroup
from flask_smorest.utils import prepare_response
from marshmallow import fields

from libs.commands import command
from libs.people.bearer.scopes import API_SCOPES
from libs.web.api.blueprint import APIBlueprint, header
from libs.web.api.shapes import Shape
from libs.web.idempotency import HEADER, LONGEST_KEY

PROBLEM_JSON = "application/problem+json"
FAILURES = {
    400: "The body is not JSON, or holds what nobody can keep",
    401: "No access token, one that is not valid here or no longer, or one whose sign-in is too old for this",
    403: "The access token lacks the scope or the role, or this may not be done to oneself",
    404: "There is no such thing",
    409: "It is not in a state that allows this",
    412: "Somebody changed it meanwhile",
    413: "The body is too long",
    415: "The body is not of type application/json",
    422: "A parameter or a member of the body cannot be right",
    428: "If-Match is missing",
    429: "Too many requests in a short time",
    503: "A short interruption",
}
"""Every way in which an operation may fail. The words are ours: those of http.HTTPStatus change with Python."""
ABOUT = (
    "Access tokens come from the issuer's token endpoint; asking for one of the scopes below addresses them here. "
    "A person's token opens what needs a role only while they have it. Where a fresh sign-in is needed, an older one "
    "is answered 401 with `max_age`: send the person to the issuer with it (RFC 9470). Errors are problem details "
    "(RFC 9457). Lists come in pages: send `next` as `cursor` to go on, until it is null; a page may hold fewer items "
    "than asked for and not be the last."
)


class ProblemSchema(Shape):
    """An error (RFC 9457)."""

    type = fields.String(required=True, metadata={"description": "Which error: a stable name"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String()
    errors = fields.Dict(
        keys=fields.String(), values=fields.String(), metadata={"description": "What is wrong, by field"}
    )
    correlation_id = fields.String(
        allow_none=True, metadata={"description": "Under which our logs tell what happened"}
    )


class _API(flask_smorest.Api):
    """flask-smorest with the suite's errors instead of its own, and no pages."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """libs/web/problems.py answers for the whole app."""

    def _register_responses(self) -> None:
        self.spec.components.response("NotModified", {"description": "It is as you know it"}, lazy=True)
        for status, words in FAILURES.items():
            response: dict[str, Any] = {"description": words, "schema": ProblemSchema}
            if status == 401:
                response["headers"] = {"WWW-Authenticate": header("string", "RFC 6750, RFC 9470")}
            if status in (429, 503):
                response["headers"] = {"Retry-After": header("integer", "Seconds to wait")}
            prepare_response(response, self.spec, PROBLEM_JSON)
            self.spec.components.response(f"Problem{status}", response, lazy=True)
        key = header(
            "string", "A word of the caller's own for this request: sent again, it is answered as before"
        )
        key["schema"]["maxLength"] = LONGEST_KEY
        self.spec.components.parameter("IDEMPOTENCY_KEY", "header", {"name": HEADER, **key}, lazy=True)

    def _register_paginationheader(self) -> None:
        """Pages say in their body and in Link what follows."""

    def register_blueprint(self, blueprint: APIBlueprint, **options: Any) -> None:
        assert self._app is not None
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)
        blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
        self.spec.tag({"name": blueprint.tag, "description": blueprint.description})


def init_api(app: Flask, blueprints: Sequence[APIBlueprint]) -> None:
    """Serve and describe these operations."""
    app.config.update(API_TITLE="UpdSpace ID", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    api = _API(app, spec_kwargs={"info": {"description": ABOUT}})
    for blueprint in blueprints:
        api.register_blueprint(blueprint)
        app.after_request_funcs.setdefault(blueprint.name, []).append(_finish)
    app.extensions["openapi"] = lambda: _document(api)
    app.cli.add_command(_openapi())


def _finish(response: Response) -> Response:
    """What the bearer may see is nobody else's, so that no cache keeps it; a state may be asked for by its tag."""
    if request.method in ("GET", "HEAD") and "ETag" in response.headers:
        response.headers["Cache-Control"] = "private, no-cache"
        response.make_conditional(request)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _document(api: _API) -> dict[str, Any]:
    """The service's operations as OpenAPI 3.1, the same wherever it is made."""
    document: dict[str, Any] = json.loads(json.dumps(api.spec.to_dict()))
    used = {
        scope
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
        for requirement in operation.get("security", ())
        for scope in requirement["oauth2"]
    }
    for key, name in api.ma_plugin.converter.refs.items():
        if words := vars(key[0]).get("__doc__"):
            document["components"]["schemas"][name]["description"] = " ".join(words.split())
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                operation["responses"] = dict(sorted(operation["responses"].items()))
    document["servers"] = [{"url": "/"}]
    document["components"]["securitySchemes"] = {
        "oauth2": {
            "type": "oauth2",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": "/oauth2/authorize",
                    "tokenUrl": "/oauth2/token",
                    "refreshUrl": "/oauth2/token",
                    "scopes": {scope: str(words) for scope, words in API_SCOPES.items() if scope in used},
                }
            },
        }
    }
    return document


def openapi_document(app: Flask) -> dict[str, Any] | None:
    """The OpenAPI document of an app; None for one without an API."""
    make = app.extensions.get("openapi")
    return make() if make else None


def _openapi() -> AppGroup:
    group = AppGroup("openapi", help="The description of this service's API.")

    @group.command("write", help="Write the OpenAPI 3.1 document to a file, or to standard output.")
    @click.argument("output", type=click.File("w", encoding="utf-8"), default="-")
    @command
    def write(output: Any, as_json: bool) -> None:
        output.write(json.dumps(openapi_document(current_app), indent=2, ensure_ascii=False) + "\n")

    return group
