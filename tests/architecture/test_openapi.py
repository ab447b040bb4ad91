"""The document that the gateway shows is what the services' code says today."""

from collections.abc import Callable

from flask import Flask

import dev
from gateway.docs import DOCUMENT, merge, written
from libs.web.api import openapi_document
from tests.conftest import SERVICES


def test_the_file_of_the_gateway_is_what_the_services_describe(make_app: Callable[[str], Flask]) -> None:
    documents = {service: openapi_document(make_app(service)) for service in SERVICES}
    found = {service: document for service, document in documents.items() if document is not None}
    assert tuple(found) == dev.SERVICES, "every service has an API"
    assert DOCUMENT.read_text(encoding="utf-8") == written(merge(found.values())), "run make openapi"


def test_every_operation_says_who_may_call_it_and_how_it_fails(make_app: Callable[[str], Flask]) -> None:
    seen = set()
    for service in dev.SERVICES:
        document = openapi_document(make_app(service))
        assert document is not None
        assert document["openapi"].startswith("3.1.")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if method == "parameters":
                    continue
                place = f"{method} {path}"
                assert "security" in operation, f"{place}: it says so where nobody needs a token"
                assert operation["summary"], f"{place}: a view's docstring is its manual"
                always = {"401", "403", "429", "503"} if operation["security"] else {"429", "503"}
                assert always <= set(operation["responses"]), place
                if "requestBody" in operation:
                    assert {"400", "413", "415", "422"} <= set(operation["responses"]), place
                if "{" in path:
                    assert "404" in operation["responses"], place
                assert operation["operationId"] not in seen, "a name for one operation"
                seen.add(operation["operationId"])
