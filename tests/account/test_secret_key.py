"""SECRET_KEY changes, and nobody notices: a process with the new one goes on with what the old one has made."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.guard.secrets import fresh
from libs.service import parts_of
from tests.account.conftest import Person, is_signed_in, mails_to, sign_in
from tests.pages import Browser, forms_of
from tests.running import ROOT

COOKIES = ("id_session", "id_browser")
AFTERWARDS = """
import json, sys

from libs.guard import ratelimit
from libs.service import parts_of
from services.account import create_app
from tests.pages import Browser

given, told = json.load(sys.stdin), {}
app = create_app()
parts = parts_of(app)


def browser_with(cookies):
    browser = Browser(app)
    for name, value in cookies.items():
        browser.set_cookie(name, value)
    return browser


member = browser_with(given["member"])
told["signed in"] = member.get("/account").status_code
told["open form"] = member.post("/account/profile", given["form"]).status_code
told["still signed in"] = member.get("/account").status_code
halfway = browser_with(given["halfway"])
told["mailed code"] = halfway.post("/login/code", given["code"]).status_code
told["now signed in"] = halfway.get("/account").status_code
told["ticket"] = Browser(app).get(f"/enrol?ticket={given['ticket']}", follow=True).status_code
with app.app_context():
    counted = list(ratelimit.find_keys(parts.redis, parts.settings, user=given["email"]))
    told["counts found"] = len(counted)
    ratelimit.reset(parts.redis, parts.settings, user=given["email"])
    told["counts left"] = len(list(ratelimit.find_keys(parts.redis, parts.settings, user=given["email"])))

print("TOLD", json.dumps(told))
"""


def go_on_with(environment: dict[str, str], given: dict[str, Any], **changes: str) -> dict[str, int]:
    """What a process with other settings makes of it."""
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS],
        cwd=ROOT,
        env={**os.environ, **environment, **changes},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    told: dict[str, int] = json.loads(line.removeprefix("TOLD "))
    return told


def cookies_of(browser: Browser) -> dict[str, str]:
    return {name: value for name in COOKIES if (value := browser.cookie(name))}


def fields_of(browser: Browser, button: str) -> dict[str, str]:
    """The form of a button as it stands open."""
    [form] = [form for form in forms_of(browser.text) if any(b.get("id") == button for b in form.buttons)]
    return dict(form.fields)


def test_under_a_new_secret_key_everything_that_is_open_goes_on(
    app: Flask,
    environment: dict[str, str],
    browser: Browser,
    person: Person,
    stranger: Browser,
    enrol_ticket: Callable[..., str],
) -> None:
    sign_in(browser, person)
    browser.get("/account/profile")
    form = fields_of(browser, "save-profile")
    enhanced = parts_of(app).enhanced
    enhanced.begin(timedelta(hours=1))
    try:
        sign_in(stranger, person)
    finally:
        enhanced.end()
    assert stranger.location.startswith("/login/code")
    stranger.get(stranger.location)
    [code_form] = [form for form in forms_of(stranger.text) if "code" in dict(form.fields)]
    code = mails_to(app, person.email, "sign_in_code")[-1].context["code"]
    stranger_again = Browser(app)
    stranger_again.fill("/login", email=person.email, password="not the password of anybody")
    told = go_on_with(
        environment,
        {
            "member": cookies_of(browser),
            "form": {**form, "name": "Renamed Under A New Key"},
            "halfway": cookies_of(stranger),
            "code": {**dict(code_form.fields), "code": code},
            "ticket": enrol_ticket(),
            "email": person.email,
        },
        SECRET_KEY=fresh.shared_secret(),
        SECRET_KEY_FALLBACKS=environment["SECRET_KEY"],
    )
    assert told.pop("counts found") >= 1, "what was counted under the old key is found by its owner's name"
    assert told == {
        "signed in": 200,
        "open form": 303,
        "still signed in": 200,
        "mailed code": 303,
        "now signed in": 200,
        "ticket": 200,
        "counts left": 0,
    }
    assert is_signed_in(browser), "pods with the old key, while they are still there, know the session, too"


def test_pods_that_still_sign_with_the_old_key_read_what_new_ones_make(
    app: Flask, enrol_ticket: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of a rotation gives the new key to everybody as a fallback."""
    parts = parts_of(app)
    new = fresh.shared_secret()
    before = parts.settings
    with monkeypatch.context() as newer:
        newer.setattr(parts, "settings", dataclasses.replace(before, SECRET_KEY=new))
        ticket = enrol_ticket()
    assert Browser(app).get(f"/enrol?ticket={ticket}", follow=True).status_code == 410
    monkeypatch.setattr(parts, "settings", dataclasses.replace(before, SECRET_KEY_FALLBACKS=(new,)))
    assert Browser(app).get(f"/enrol?ticket={ticket}", follow=True).status_code == 200
