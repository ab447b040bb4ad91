"""Registration tokens by page and API: made and shown once, listed, revoked; what registers apps with them."""

import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.account.programs import Program
from tests.conftest import sign_in_copy
from tests.oidc.programs import bearing
from tests.pages import Browser

PAGE = "/admin/clients/registration-tokens"
PATH = "/clients/registration-tokens"


@pytest.fixture
def program(app: Flask) -> Program:
    return bearing(app, "admin")


def register(app: Flask, token: str) -> int:
    """Register an app with this token, as its program would."""
    body = {"redirect_uris": ["https://partner.test/cb"]}
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client().post("/oauth2/register", json=body, headers=headers).status_code


def token_on(browser: Browser) -> str | None:
    found = re.search(r'id="registration-token">([^<]+)<', browser.text)
    return found[1] if found else None


def listed(program: Program, note: str) -> dict[str, Any]:
    [found] = [row for row in program.get(PATH).json["items"] if row["note"] == note]
    return dict(found)


def test_a_token_is_made_on_the_page_shown_once_and_registers_one_app(
    app: Flask, admin: Browser, log_text: Callable[[], str]
) -> None:
    note = f"Partner <b>{uuid.uuid4().hex}</b>"
    admin.fill(PAGE, button="create-token", note=note)
    assert admin.location == PAGE
    other = Browser(app)
    sign_in_copy(other, app, roles=["admin"])
    other.get(PAGE)
    assert token_on(other) is None
    admin.get(PAGE)
    token = token_on(admin)
    assert token
    assert note not in admin.text, "a note is text"
    admin.get(PAGE)
    assert token_on(admin) is None
    assert token not in log_text()
    assert register(app, token) == 201
    assert register(app, token) == 401
    admin.get(PAGE)
    assert "used up" in admin.text


def test_a_token_that_is_revoked_registers_nothing(app: Flask, admin: Browser, program: Program) -> None:
    note = uuid.uuid4().hex
    admin.fill(PAGE, button="create-token", note=note, uses="", lifetime="30", follow=True)
    token = token_on(admin) or ""
    row = listed(program, note)
    assert (row["uses_left"], row["state"]) == (None, "holds")
    assert row["created_by"].startswith("user:")
    made, ends = (datetime.fromisoformat(row[name]) for name in ("created_at", "expires_at"))
    assert round((ends - made) / timedelta(days=1)) == 30
    assert register(app, token) == 201
    admin.get(PAGE)
    form, _ = admin.find_form(f"revoke-{row['id']}", {})
    for words in ("is revoked", "was revoked before"):
        admin.post(form.action, dict(form.fields))
        admin.get(PAGE)
        assert words in admin.text
    assert f"revoke-{row['id']}" not in admin.text
    assert register(app, token) == 401
    assert listed(program, note)["state"] == "revoked"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("note", " ", "whom it is for"),
        ("note", "x" * 201, "whom it is for"),
        ("uses", "0", "From 1 to"),
        ("uses", "-1", "From 1 to"),
        ("uses", "many", "From 1 to"),
        ("uses", "9" * 5000, "From 1 to"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_comes_back_as_entered(admin: Browser, field: str, value: str, words: str) -> None:
    admin.fill(PAGE, button="create-token", **{"note": "Partner", "lifetime": "30", field: value})
    assert admin.status == 400
    assert words in admin.text
    form, _ = admin.find_form("create-token", {})
    entered = dict(form.fields)
    assert (entered[field], entered["lifetime"]) == (value, "30")


def test_the_page_says_what_tokens_are_worth_under_the_policy(
    admin: Browser, with_settings: Callable[..., None]
) -> None:
    for policy, words in (("closed", "for now a token opens nothing"), ("open", "nobody needs a token")):
        with_settings(REGISTRATION=policy)
        admin.get(PAGE)
        assert words in admin.text


def test_a_program_makes_lists_and_revokes_tokens(app: Flask, program: Program) -> None:
    note = uuid.uuid4().hex
    answer = program("POST", PATH, json={"note": note, "uses": 2, "lifetime_seconds": 3600})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    made, token = answer.json["registration_token"], answer.json["token"]
    assert register(app, token) == 201
    assert token not in program.get(PATH).text
    row = listed(program, note)
    assert row == {**made, "uses_left": 1}
    path = f"{PATH}/{made['id']}"
    assert [program("DELETE", path).status_code for _ in range(2)] == [204, 204]
    assert register(app, token) == 401
    assert program("DELETE", f"{PATH}/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"note": ""},
        {"note": None},
        {"uses": 0},
        {"uses": "2"},
        {"lifetime_seconds": 0},
        {"lifetime_seconds": None},
        {"lifetime_seconds": 366 * 86400},
        {"token": "mine"},
    ],
    ids=str,
)
def test_a_program_is_told_what_cannot_be(program: Program, wrong: dict[str, Any]) -> None:
    answer = program("POST", PATH, json={"note": "Partner", **wrong})
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == set(wrong)
    assert program("POST", PATH, json={"note": "a\x07b"}).status_code == 400
