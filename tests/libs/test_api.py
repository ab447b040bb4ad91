"""How every API reads, refuses, pages and tags."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from libs.guard.ratelimit import find_keys
from libs.service import parts_of
from tests.libs import sample
from tests.libs.test_bearer import KEY, ask, public, publish, signed

CHECKED = "/api/v1/notes/checked"
STATE = "/api/v1/notes/state"
LISTED = "/api/v1/notes/listed"


@pytest.fixture
def call(sample_app: Flask) -> Callable[..., TestResponse]:
    publish(sample_app, public(KEY, "k1", "ES256"))
    token = signed()

    def call(
        method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return sample_app.test_client().open(path, method=method, headers=sent, **options)

    return call


def problem(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json", answer.text
    assert answer.json["status"] == answer.status_code
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, answer.json["type"].rpartition(":")[2]


def test_what_is_wrong_is_said_by_field(call: Callable[..., TestResponse]) -> None:
    answer = call("POST", CHECKED, json={"text": "ab", "tags": ["a", 1], "role": "admin"})
    assert problem(answer) == (422, "invalid-input")
    assert set(answer.json["errors"]) == {"text", "tags.1", "role"}
    assert answer.json["errors"]["role"] == "Unknown field."
    assert call("POST", CHECKED, json={"text": "abc"}).json["text"] == "abc"
    assert set(call("POST", CHECKED, json=[1]).json["errors"]) == {"body"}
    assert set(call("POST", CHECKED).json["errors"]) == {"text"}
    assert set(call("GET", f"{LISTED}?limit=0&colour=red").json["errors"]) == {"limit", "colour"}


@pytest.mark.parametrize(
    "body", [b"{", b'{"text": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"nonsense"]
)
def test_a_body_that_is_no_json_is_refused(call: Callable[..., TestResponse], body: bytes) -> None:
    answer = call("POST", CHECKED, data=body, content_type="application/json")
    assert problem(answer) == (400, "not-json")


def test_a_body_of_another_type_is_refused(call: Callable[..., TestResponse]) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"):
        answer = call("POST", CHECKED, data=json.dumps({"text": "abc"}), content_type=kind)
        assert problem(answer) == (415, "unsupported-media-type"), kind
    assert call("POST", CHECKED, data=b"x" * 2_000_000, content_type="application/json").status_code == 413


@pytest.mark.parametrize("text", ["\x00abc", "\ud800abc", "a" * 200_000])
def test_what_cannot_be_kept_is_no_fault_of_ours(call: Callable[..., TestResponse], text: str) -> None:
    answer = call("POST", CHECKED, data=json.dumps({"text": text}), content_type="application/json")
    assert answer.status_code in (201, 400)


def test_a_wrong_method_is_told_the_right_ones(call: Callable[..., TestResponse]) -> None:
    answer = call("DELETE", STATE)
    assert problem(answer)[0] == 405
    assert {"GET", "PUT"} <= set(re.split(r", *", answer.headers["Allow"]))
    assert problem(call("GET", "/api/v1/notes/nothing"))[0] == 404


def test_pages_follow_one_another_by_body_and_by_link(call: Callable[..., TestResponse]) -> None:
    seen: list[int] = []
    path = f"{LISTED}?limit=40"
    for expected in (40, 40, 20):
        answer = call("GET", path)
        seen += [item["id"] for item in answer.json["items"]]
        assert len(answer.json["items"]) == expected
        link = answer.headers.get("Link")
        if link:
            match = re.fullmatch(r'<(/api/[^>]+)>; rel="next"', link)
            assert match
            path = match[1]
            assert answer.json["next"] in path
            assert "limit=40" in path
    assert seen == list(range(99, -1, -1))
    assert answer.json["next"] is None
    assert link is None


@pytest.mark.parametrize(
    "cursor", ["x", "ü", "W10", "bnVsbA", "WyJhIl0", "WzEsMl0", "Ww", "W3t9XQ", "WyI5OTk5OTkiLCJ4Il0"]
)
def test_a_cursor_that_is_not_ours_is_refused(call: Callable[..., TestResponse], cursor: str) -> None:
    answer = call("GET", LISTED, query_string={"cursor": cursor})
    assert problem(answer) == (422, "invalid-input")
    assert set(answer.json["errors"]) == {"cursor"}


def test_a_state_has_a_tag_and_is_not_sent_twice(call: Callable[..., TestResponse]) -> None:
    first = call("GET", STATE)
    assert (first.headers["ETag"], first.headers["Cache-Control"]) == ('"7"', "private, no-cache")
    again = call("GET", STATE, headers={"If-None-Match": '"7"'})
    assert (again.status_code, again.data) == (304, b"")


def test_a_change_names_the_state_that_it_was_made_for(call: Callable[..., TestResponse]) -> None:
    assert problem(call("PUT", STATE)) == (428, "precondition-required")
    for accepted in ('"7"', '"6", "7"', "*"):
        assert call("PUT", STATE, headers={"If-Match": accepted}).status_code == 200
    for outdated in ('"6"', 'W/"7"', '"seven"', f'"{"9" * 5000}"', ",", '"'):
        assert call("PUT", STATE, headers={"If-Match": outdated}).status_code == 422, outdated


def test_every_request_of_a_bearer_counts_whatever_its_method(sample_app: Flask) -> None:
    publish(sample_app, public(KEY, "k1", "ES256"))
    parts, sub = parts_of(sample_app), str(uuid.uuid4())
    token = signed(sub=sub)

    def count() -> int:
        """Requests counted, under one name for all endpoints."""
        names = list(find_keys(parts.redis, parts.settings, user=sub))
        assert len(names) <= 1
        return sum(parts.redis.llen(name) for name in names)

    ask(sample_app, token, STATE)
    ask(sample_app, token, STATE, method="PUT")
    ask(sample_app, token, LISTED)
    assert count() == 3
    ask(sample_app, "nonsense", LISTED)
    assert count() == 3


def test_whoever_asks_too_often_is_told_when_to_come_back(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(sample_app, public(KEY, "k1", "ES256"))
    monkeypatch.setattr(sample.limiter, "_allowance", lambda full: "3 per minute")
    token = signed(sub=str(uuid.uuid4()))
    assert [ask(sample_app, token, path).status_code for path in (STATE, LISTED, STATE)] == [200] * 3
    refused = ask(sample_app, token, STATE)
    assert problem(refused) == (429, "too-many-requests")
    assert int(refused.headers["Retry-After"]) > 0
    assert ask(sample_app, signed(sub=str(uuid.uuid4())), STATE).status_code == 200, "somebody else"
