"""A service's API under inputs that nobody thought of, held against its own document."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask, json
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from libs.service import parts_of
from libs.web.api import openapi_document

EXAMPLES = {GenerationMode.POSITIVE: 5, GenerationMode.NEGATIVE: 4}
"""What fits the document, and what does not."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def fuzz_everything(
    app: Flask, *, token: str, known: Callable[[], Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> int:
    """Try every operation with this bearer; `known` says for each what exists, by the names of parameters.

    Returns how many there were.
    """
    monkeypatch.setattr(parts_of(app).limiter, "_allowance", lambda full: "100000 per minute")
    schema = schemathesis.openapi.from_wsgi("/openapi.json", _with_its_document(app))
    tried = 0
    for result in schema.get_all_operations():
        tried += 1
        words = known()
        for mode, count in EXAMPLES.items():
            operation = result.ok()
            if not (operation.query or operation.body):
                if mode is GenerationMode.NEGATIVE:
                    continue  # nothing about it could be wrong but its path
                count = 2
            _fuzz(operation.as_strategy(generation_mode=mode), count=count, token=token, words=words)
    return tried


def _with_its_document(app: Flask) -> Callable[..., Iterable[bytes]]:
    """The app, and its document where the fuzzer looks for it."""
    text = json.dumps(openapi_document(app)).encode()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/openapi.json":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text]

    return answer


def _fuzz(cases: Any, *, count: int, token: str, words: Mapping[str, str]) -> None:
    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def keeps_to_it(case: Any) -> None:
        case.path_parameters.update(
            {name: word for name, word in words.items() if name in case.path_parameters}
        )
        response = case.call(headers={"Authorization": f"Bearer {token}"})
        case.validate_response(response, checks=CHECKS)
        assert response.status_code not in (401, 403, 429), "the fuzzer got in"

    keeps_to_it()
