"""/openapi.json for programs and /docs for people, out of one file of the release."""

import json
import re
from typing import Any

import pytest
from flask import Flask

from gateway.docs import DOCUMENT, merge
from gateway.front import create_app
from tests.pages import Browser


@pytest.fixture
def app(environment: dict[str, str]) -> Flask:
    return create_app()


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def test_the_document_may_be_cached_and_is_not_sent_twice(browser: Browser) -> None:
    first = browser.get("/openapi.json")
    assert (first.status_code, first.mimetype) == (200, "application/json")
    assert first.json == json.loads(DOCUMENT.read_text())
    assert first.headers["Cache-Control"] == "public, max-age=300"
    again = browser.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_shows_every_operation_and_every_shape_without_script(browser: Browser) -> None:
    page = browser.get("/docs").text
    document = json.loads(DOCUMENT.read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                assert f"<code>{method.upper()} {path}</code>" in page
                assert f'id="{operation["operationId"]}"' in page
    for name in document["components"]["schemas"]:
        assert f'id="shape-{name}"' in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page)), "every link of the page leads somewhere on it"
    assert '<a href="#shape-WayBack"><code>WayBack | null</code></a>' in page
    assert "A sign-in of the last 5 minutes" in page
    assert "<script" not in page
    assert "users:read" in page


def test_the_page_speaks_russian_too(browser: Browser) -> None:
    page = browser.get("/docs?ui_locales=ru").text
    assert "Программные интерфейсы" in page


def described(path: str, schema: dict[str, Any], tag: str) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "UpdSpace ID"},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag}],
        "paths": {path: {"get": {}}},
        "components": {"schemas": {"Problem": {"type": "object"}, **schema}},
    }


def test_documents_of_services_become_one() -> None:
    merged = merge([described("/a", {"A": {}}, "as"), described("/b", {"B": {}}, "bs")])
    assert set(merged["paths"]) == {"/a", "/b"}
    assert set(merged["components"]["schemas"]) == {"Problem", "A", "B"}
    assert merged["tags"] == [{"name": "as"}, {"name": "bs"}]


def test_two_shapes_of_one_name_are_refused() -> None:
    one, other = (
        described("/a", {"A": {"type": "object"}}, "as"),
        described("/b", {"A": {"type": "string"}}, "bs"),
    )
    with pytest.raises(ValueError, match="/components/schemas/A/type"):
        merge([one, other])
