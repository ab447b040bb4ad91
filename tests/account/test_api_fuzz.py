"""The API under inputs that nobody thought of: what it answers is what it documents, and never a 500."""

from collections.abc import Callable, Iterable
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask, json
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from libs.web.api import openapi_document
from tests.account.conftest import Person
from tests.account.programs import Program

OPERATIONS = 43
"""A floor, so that a document that lost its operations does not pass for a sound one."""
EXAMPLES = {GenerationMode.POSITIVE: 5, GenerationMode.NEGATIVE: 4}
"""What fits the document, and what does not."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def with_its_document(app: Flask) -> Callable[..., Iterable[bytes]]:
    """The app, and its document where the fuzzer looks for it."""
    text = json.dumps(openapi_document(app)).encode()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/openapi.json":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text]

    return answer


def fuzz(cases: Any, *, count: int, token: str, sub: str) -> None:
    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def keeps_to_it(case: Any) -> None:
        if "sub" in case.path_parameters:
            case.path_parameters["sub"] = sub
        response = case.call(headers={"Authorization": f"Bearer {token}"})
        case.validate_response(response, checks=CHECKS)
        assert response.status_code not in (401, 403, 429), "the fuzzer got in"

    keeps_to_it()


# The fuzzer's own strategies draw from `random`; what is tried is derandomised all the same.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_operation_keeps_to_its_document(
    app: Flask,
    make_person: Callable[..., Person],
    program_of: Callable[..., Program],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from services.account.extensions import limiter

    monkeypatch.setattr(limiter, "_allowance", lambda full: "100000 per minute")
    token = program_of(make_person(roles=["admin"]), "me users:read users:write").token
    sub = make_person().sub
    schema = schemathesis.openapi.from_wsgi("/openapi.json", with_its_document(app))
    tried = 0
    for result in schema.get_all_operations():
        tried += 1
        for mode, count in EXAMPLES.items():
            operation = result.ok()
            if not (operation.query or operation.body):
                if mode is GenerationMode.NEGATIVE:
                    continue  # nothing about it could be wrong but its path
                count = 2
            fuzz(operation.as_strategy(generation_mode=mode), count=count, token=token, sub=sub)
    assert tried >= OPERATIONS
