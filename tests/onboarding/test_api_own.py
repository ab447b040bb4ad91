"""Applying and the own application by API, without any account."""

import threading
import uuid
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from tests.onboarding import steps
from tests.pages import ORIGIN


class Anybody:
    """A program without a token of ours."""

    def __init__(self, app: Flask, ip: str = "127.0.0.1"):
        self.app, self.ip = app, ip

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        http = Client(self.app, TestResponse, use_cookies=False)
        overrides = {"REMOTE_ADDR": self.ip}
        return http.open(
            f"/api/v1/applications{path}",
            method=method,
            base_url=ORIGIN,
            environ_overrides=overrides,
            **options,
        )

    def apply(self, email: str, key: str | None = None, **more: Any) -> TestResponse:
        body = {"email": email, "name": "Ada Lovelace", "why": steps.WHY, **more}
        return self("POST", "", json=body, headers={"Idempotency-Key": key} if key else {})


@pytest.fixture
def anybody(onboarding_app: Flask) -> Anybody:
    return Anybody(onboarding_app)


def count(app: Flask, email: str) -> int:
    found: int = steps.facts(app, email)["applications_of_this_address"]
    return found


def slug(answer: TestResponse) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_an_application_is_taken_and_its_mail_leaves(onboarding_app: Flask, anybody: Anybody) -> None:
    email = steps.new_email()
    taken = anybody.apply(email, locale="ru")
    assert (taken.status_code, set(taken.json)) == (202, {"detail"})
    assert taken.headers["Cache-Control"] == "no-store"
    [mail] = steps.mails(onboarding_app, email)
    assert (mail.template, mail.locale) == ("confirm_address", "ru")
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_the_answer_says_nothing_about_what_is_known_of_the_address(
    onboarding_app: Flask, anybody: Anybody
) -> None:
    waiting, approved, opened = (
        steps.apply(onboarding_app),
        steps.approved(onboarding_app),
        steps.approved(onboarding_app),
    )
    steps.open_account(onboarding_app, opened)
    answers = [anybody.apply(email) for email in (steps.new_email(), waiting, approved, opened)]
    assert {(answer.status_code, answer.data) for answer in answers} == {(202, answers[0].data)}
    names = [sorted(name for name, _ in answer.headers) for answer in answers]
    assert names == [names[0]] * 4


@pytest.mark.parametrize(
    "deep", ["[" * 50_000, '{"a":' * 50_000, '{"email":' + "[" * 50_000 + "]" * 50_000 + "}"]
)
def test_what_is_nested_without_end_is_refused(onboarding_app: Flask, deep: str) -> None:
    answer = Anybody(onboarding_app, ip="10.66.0.1")("POST", "", data=deep, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": 5}, "email"),
        ({"email": "a@people.test\r\nBcc: eve@evil.test"}, "email"),
        ({"name": ""}, "name"),
        ({"name": "Ada\nBcc"}, "name"),
        ({"why": None}, "why"),
        ({"locale": "xx"}, "locale"),
        ({"state": "approved"}, "state"),
        ({"roles": ["admin"]}, "roles"),
        ({"invitation_id": str(uuid.uuid4())}, "invitation_id"),
    ],
)
def test_what_cannot_be_is_said_by_field(
    onboarding_app: Flask, anybody: Anybody, changes: dict[str, Any], field: str
) -> None:
    answer = anybody.apply(**{"email": steps.new_email(), **changes})
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert field in answer.json["errors"]


def test_ten_at_once_are_one_application_with_a_key_and_without(onboarding_app: Flask) -> None:
    for key in (str(uuid.uuid4()), None):
        email = steps.new_email()
        statuses = at_once(onboarding_app, email, key)
        assert set(statuses) <= ({202, 409} if key else {202})
        assert 202 in statuses
        assert count(onboarding_app, email) == 1
        assert len(steps.mails(onboarding_app, email)) == 1


def at_once(app: Flask, email: str, key: str | None) -> list[int]:
    barrier, statuses = threading.Barrier(10), []

    def go() -> None:
        barrier.wait()
        statuses.append(Anybody(app).apply(email, key).status_code)

    threads = [threading.Thread(target=go) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_a_repeated_request_is_answered_as_before_and_another_one_refused(
    onboarding_app: Flask, anybody: Anybody
) -> None:
    email, key = steps.new_email(), str(uuid.uuid4())
    first, second = anybody.apply(email, key), anybody.apply(email, key)
    assert (second.status_code, second.data) == (202, first.data)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert slug(anybody.apply(email, key, name="Eve")) == "idempotency-key-reused"
    assert steps.facts(onboarding_app, email)["name"] == "Ada Lovelace"
    stranger = Anybody(onboarding_app, ip="10.9.8.7").apply(steps.new_email(), key)
    assert (stranger.status_code, "Idempotent-Replayed" in stranger.headers) == (202, False)


def test_applying_counts_with_the_page_and_by_address(onboarding_app: Flask) -> None:
    email = steps.new_email()
    statuses = [Anybody(onboarding_app, ip=f"10.3.{n}.1").apply(email).status_code for n in range(11)]
    assert statuses == [202] * 10 + [429]
    busy = Anybody(onboarding_app, ip="10.4.1.1")
    statuses = [busy.apply(steps.new_email()).status_code for _ in range(21)]
    assert statuses == [202] * 20 + [429]


# -- the own application ----------------------------------------------------------------------------------------


def of(app: Flask, email: str) -> dict[str, str]:
    return {"Status-Token": steps.status_token(app, steps.facts(app, email)["id"])}


def test_the_applicant_sees_where_it_stands_answers_and_withdraws(
    onboarding_app: Flask, anybody: Anybody
) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    token = of(onboarding_app, email)
    shown = anybody("GET", "/status", headers=token)
    assert (shown.status_code, shown.json["state"], shown.json["question"]) == (200, "confirmed", None)
    assert (shown.json["may_withdraw"], shown.headers["Cache-Control"]) == (True, "no-store")
    assert "email" not in shown.json
    nothing = anybody("POST", "/status/answer", headers=token, json={"text": "Big"})
    assert (nothing.status_code, slug(nothing)) == (409, "nothing-asked")
    steps.ask(onboarding_app, email, "How big?")
    assert anybody("GET", "/status", headers=token).json["question"]["text"] == "How big?"
    answered = anybody("POST", "/status/answer", headers=token, json={"text": "Nine metres"})
    assert (answered.status_code, answered.json["question"]) == (200, None)
    assert anybody("POST", "/status/answer", headers=token, json={"text": " "}).status_code == 422
    for _ in range(2):
        gone = anybody("POST", "/status/withdraw", headers=token)
        assert (gone.status_code, gone.json["state"], gone.json["may_withdraw"]) == (200, "withdrawn", False)


@pytest.mark.parametrize("shown", [True, False])
def test_a_reason_is_told_where_the_reviewer_wanted_it(
    onboarding_app: Flask, anybody: Anybody, shown: bool
) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.reject(onboarding_app, email, "no boats", is_shown=shown)
    status = anybody("GET", "/status", headers=of(onboarding_app, email)).json
    assert (status["state"], status["reason"]) == ("rejected", "no boats" if shown else None)


@pytest.mark.parametrize("token", ["x", "A" * 64, "-" * 64, "é" * 10])
def test_a_token_that_is_none_of_ours_opens_nothing(anybody: Anybody, token: str) -> None:
    for method, path in (("GET", "/status"), ("POST", "/status/withdraw")):
        answer = anybody(method, path, headers={"Status-Token": token})
        assert (answer.status_code, slug(answer)) == (404, "unknown-status-token")


def test_the_token_counts_in_its_header_alone(onboarding_app: Flask, anybody: Anybody) -> None:
    token = of(onboarding_app, steps.apply(onboarding_app))["Status-Token"]
    for options in (
        {},
        {"query_string": {"token": token}},
        {"headers": {"Authorization": f"Bearer {token}"}},
        {"headers": {"Cookie": f"token={token}"}},
    ):
        assert anybody("GET", "/status", **options).status_code == 422, options


def test_the_token_is_in_no_log(onboarding_app: Flask, anybody: Anybody, log_text: Any) -> None:
    token = of(onboarding_app, steps.apply(onboarding_app))
    anybody("GET", "/status", headers=token)
    assert token["Status-Token"] not in log_text()
