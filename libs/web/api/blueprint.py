"""The blueprint of an API: its operations are limited together and described under one heading."""

from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest
import marshmallow as ma

from libs.guard.ratelimit import RateLimiter
from libs.people.access import STEP_UP_LIFETIME
from libs.people.bearer import bearer_name
from libs.web.api.pages import page_schema
from libs.web.api.shapes import Parser

View = TypeVar("View", bound=Callable[..., Any])

ALLOWANCE = "600 per minute"
"""Requests of one person or client, at all APIs together."""
ALWAYS = (429, 503)
"""How any operation may fail."""
FOR_BEARERS = (401, 403)
"""How one that wants an access token may fail too."""
WITH_A_BODY = (400, 413, 415)
"""How one that reads JSON may fail before its fields are looked at; the fields themselves are 422."""


class APIBlueprint(flask_smorest.Blueprint):
    """The operations on one kind of thing, limited together, under one heading of the documentation."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, tag: str, import_name: str, *, limiter: RateLimiter, description: str):
        super().__init__(f"{tag}_api", import_name, description=description)
        self.tag = tag
        self._prepare_doc_cbks += [
            self._prepare_common_doc,
            self._prepare_versioned_doc,
            self._prepare_idempotent_doc,
        ]
        limiter.limit("api", ALLOWANCE, by=bearer_name)(self)

    def page_of(self, item: type[ma.Schema]) -> Callable[[View], View]:
        """Answer with one page of a list, as page() makes it."""
        link = header("string", 'The page after this one, with rel="next" (RFC 8288)')
        decorate: Callable[[View], View] = self.response(200, page_schema(item), headers={"Link": link})
        return decorate

    def problems(self, *statuses: int) -> Callable[[View], View]:
        """Document that the operation may fail in these ways too."""

        def decorate(view: View) -> View:
            note = view.__dict__.setdefault("_apidoc", {})
            note["problems"] = (*note.get("problems", ()), *statuses)
            return view

        return decorate

    def versioned(self, view: View) -> View:
        """Document that the answer has an ETag, and that a change must come with it as If-Match."""
        view.__dict__.setdefault("_apidoc", {})["versioned"] = True
        return view

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any
    ) -> None:
        options["tags"] = [self.tag]
        super().add_url_rule(rule, endpoint, view_func, **options)

    def _store_endpoint_docs(self, endpoint: str, obj: Any, *args: Any, **options: Any) -> None:
        super()._store_endpoint_docs(endpoint, obj, *args, **options)
        for method, info in self._docs[endpoint].items():
            if method != "parameters":
                info["access"] = getattr(obj, "access", None)
                info["manual_doc"] = {
                    "operationId": f"{self.tag}_{endpoint}",
                    **info.get("manual_doc", {}),
                }

    def _prepare_common_doc(self, doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Who may call it, and how it may fail."""
        access = doc_info["access"]
        is_for_bearers = access is not None and access.kind == "bearer"
        statuses = {*ALWAYS, *doc_info.get("problems", ()), *(WITH_A_BODY if "requestBody" in doc else ())}
        statuses |= set(FOR_BEARERS if is_for_bearers else ())
        # flask-smorest has named the answer to fields that cannot be right after Python's word for it.
        statuses |= {status for status in doc["responses"] if status >= 400}
        doc["responses"] |= {status: f"Problem{status}" for status in sorted(statuses)}
        if not is_for_bearers:
            doc["security"] = []
        else:
            doc["security"] = [{"oauth2": [access.scope]}]
            if access.roles:
                doc["x-role"] = " / ".join(access.roles)
            if access.needs_fresh:
                doc["x-max-age"] = int(STEP_UP_LIFETIME.total_seconds())
        return doc

    def _prepare_versioned_doc(
        self, doc: dict[str, Any], doc_info: dict[str, Any], *, method: str, **_: Any
    ) -> dict[str, Any]:
        if not doc_info.get("versioned"):
            return doc
        for status in doc_info.get("success_status_codes", ()):
            doc["responses"][status].setdefault("headers", {})["ETag"] = "ETAG"
        parameters = doc.setdefault("parameters", [])
        if method in ("get", "head"):
            parameters.append("IF_NONE_MATCH")
            doc["responses"][304] = "NotModified"
        else:
            parameters.append("IF_MATCH")
            doc["responses"] |= {412: "Problem412", 428: "Problem428"}
        return doc

    def _prepare_idempotent_doc(
        self, doc: dict[str, Any], doc_info: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        if doc_info.get("idempotent"):
            doc.setdefault("parameters", []).append("IDEMPOTENCY_KEY")
            for status in doc_info.get("success_status_codes", ()):
                headers = doc["responses"][status].setdefault("headers", {})
                headers["Idempotent-Replayed"] = header("string", "`true` on an answer that was given before")
        return doc


def header(kind: str, words: str) -> dict[str, Any]:
    """A header as the document describes it."""
    return {"description": words, "schema": {"type": kind}}
