"""Asking to join: the form, and where its links lead."""

import time
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from libs.service import parts_of
from tests.onboarding import steps
from tests.onboarding.steps import press
from tests.pages import ORIGIN, Browser

# -- the form -----------------------------------------------------------------------------------------------


def test_an_application_is_kept_and_a_link_is_mailed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["name"], values["why"]) == ("submitted", "Ada Lovelace", steps.WHY)
    [mail] = steps.mails(onboarding_app, email)
    assert mail.template == "confirm_address"
    assert mail.context["name"] == "Ada Lovelace"
    assert mail.context["link"].startswith(f"{ORIGIN}/apply/confirm?token=")
    assert mail.expires_at is not None


def test_the_page_after_it_says_to_look_into_the_mail(onboarding_app: Flask) -> None:
    browser = Browser(onboarding_app)
    browser.fill("/apply", email=steps.new_email(), name="Ada", why=steps.WHY, follow=True)
    assert browser.status == 200
    assert "Check your mail" in browser.text


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@people.test",
        "ada@people",
        "ada@people.test\r\nBcc: eve@evil.test",
        "ada\n@people.test",
        "ada,eve@evil.test",
        "ada@people.test,eve@evil.test",
        "ada@people.test, eve@evil.test",
        "Ada <ada@people.test>",
        '"ada eve"@people.test',
        "ada(comment)@people.test",
        "ada@people.test\0",
        "ada..eve@people.test",
        "ada@-people.test",
        "ada@127.0.0.1",
        "ada@[127.0.0.1]",
        "a" * 65 + "@people.test",
        "ada@" + "a." * 130 + "test",
        "ада@people.test",
        "ada@people.test%0aBcc:eve@evil.test",
        "ada@" + "ä" * 200 + ".test",
    ],
)
def test_an_unusable_address_is_said_beside_its_field(onboarding_app: Flask, email: str) -> None:
    browser = Browser(onboarding_app)
    browser.fill("/apply", email=email, name="Ada Lovelace", why="kept words")
    assert browser.status == 422
    assert 'id="email-error"' in browser.text
    assert "kept words" in browser.text, "the form comes back filled in"


def test_an_empty_form_says_what_is_missing_in_the_language_of_the_page(onboarding_app: Flask) -> None:
    for language, words in (
        ("en", ("Enter your e-mail address.", "Tell us your name.", "Write a sentence or two.")),
        ("ru", ("Введите адрес электронной почты.", "Укажите, как вас зовут.", "Напишите хотя бы")),
    ):
        browser = Browser(onboarding_app)
        browser.fill(f"/apply?language={language}", email="", name="", why="")
        for sentence in words:
            assert sentence in browser.text


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" ada+boats@people.test ", "ada+boats@people.test"),
        ("{{7*7}}@people.test", "{{7*7}}@people.test"),
        ("ada@ПОЧТА.рф", "ada@xn--80a1acny.xn--p1ai"),
        ("ada@PEOPLE.Test", "ada@people.test"),
    ],
)
def test_an_unusual_address_is_taken_literally(onboarding_app: Flask, typed: str, kept: str) -> None:
    before = len(steps.mails(onboarding_app, kept))
    steps.apply(onboarding_app, typed, name=f"Ada {before}")
    assert len(steps.mails(onboarding_app, kept)) == before + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "Ada\r\nBcc: eve@evil.test"),
        ("name", "Ada\0"),
        ("name", "\u200d"),
        ("name", "\u3164 \u2800"),
        ("name", "Ada \u202egnp.exe"),
        ("name", "x" * 101),
        ("why", ""),
        ("why", "x" * 2001),
    ],
)
def test_unusable_answers_are_said_beside_their_field(onboarding_app: Flask, field: str, value: str) -> None:
    browser = Browser(onboarding_app)
    email = steps.new_email()
    browser.fill("/apply", **{"email": email, "name": "Ada", "why": "x", field: value})
    assert browser.status == 422
    assert f'id="{field}-error"' in browser.text
    assert email in browser.text
    assert not steps.mails(onboarding_app, email)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "{{7*7}}",
        "Ada, Countess; DROP",
        "O’Brien %0aBcc: x",
        "Ада Лавлейс",
        "阿达",
    ],
)
def test_odd_names_are_literal_everywhere(onboarding_app: Flask, name: str) -> None:
    email = steps.apply(onboarding_app, name=name, why=f"{name}\nsecond line\0\x1b")
    values = steps.facts(onboarding_app, email)
    assert values["name"] == name
    assert values["why"] == f"{name}\nsecond line"
    assert steps.mails(onboarding_app, email)[0].context["name"] == name
    page = steps.reviewer(onboarding_app).get(steps.page_of(onboarding_app, email)).text
    assert name.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<script>" not in page
    assert "49" not in page.split('id="why"')[1].split("</dl>")[0]


def test_a_state_in_the_request_is_ignored(onboarding_app: Flask) -> None:
    email = steps.new_email()
    browser = Browser(onboarding_app)
    browser.fill("/apply")
    form, _ = browser.find_form("apply", {})
    wishes = {
        "state": "approved",
        "status": "approved",
        "roles": "admin",
        "confirmed_at": "2020-01-01",
        "id": "1",
    }
    data = {**dict(form.fields), "email": email, "name": "Eve", "why": "x", **wishes}
    assert browser.post("/apply", data, headers={"Origin": ORIGIN}).status_code == 303
    values = steps.facts(onboarding_app, email)
    assert values["state"] == "submitted"
    assert values["address_confirmed_at"] is None


def test_an_application_needs_the_forms_own_token(onboarding_app: Flask) -> None:
    email = steps.new_email()
    browser = Browser(onboarding_app)
    page = browser.post("/apply", {"email": email, "name": "Ada", "why": "my own words " * 10})
    assert page.status_code == 400
    assert "my own words" in page.text
    assert not steps.mails(onboarding_app, email)
    page = browser.post(
        "/apply", {"email": email, "name": "Ada", "why": "x"}, headers={"Origin": "https://evil.test"}
    )
    assert page.status_code == 403


def test_the_language_of_the_page_is_the_applicants(onboarding_app: Flask) -> None:
    browser = Browser(onboarding_app)
    browser.get("/apply?language=ru")
    assert "Почему вы хотите вступить?" in browser.text
    email = steps.new_email()
    browser.fill("/apply", email=email, name="Ада", why="Строю лодки.")
    [mail] = steps.mails(onboarding_app, email)
    assert mail.locale == "ru"


def test_many_applications_from_one_network_are_slowed_down(onboarding_app: Flask) -> None:
    statuses = []
    for number in range(25):
        browser = Browser(onboarding_app, ip="198.51.100.7")
        browser.fill("/apply", email=f"crowd{number}@people.test", name="Ada", why="")
        statuses.append(browser.status)
        if browser.status == 429:
            assert int(browser.page.headers["Retry-After"]) > 0
    assert statuses == [422] * 20 + [429] * 5
    redis = parts_of(onboarding_app).redis
    assert list(redis.scan_iter("*rl:register:ip:198.51.100.7:*"))


@pytest.mark.parametrize("domain", ["straße.test", "STRAẞE.test", "βόλος.test", "a\u200db.test"])
def test_a_domain_that_would_be_another_one_is_refused(onboarding_app: Flask, domain: str) -> None:
    browser = Browser(onboarding_app)
    browser.fill("/apply", email=f"ada@{domain}", name="Ada", why="x")
    assert browser.status == 422
    email = f"{steps.new_email().partition('@')[0]}@xn--strae-oqa.test"
    steps.apply(onboarding_app, email)
    assert steps.mails(onboarding_app, email), "in ASCII it is the one that was meant"


UNSEEN = ("\u00ad", "\u200b")
"""Signs that the rules of domain names pass over."""


def test_an_address_is_not_flooded_with_mails_however_it_is_spelled(onboarding_app: Flask) -> None:
    email = steps.new_email()
    local = email.partition("@")[0]
    spellings = [f"{local}@{'people' + unseen * count}.test" for unseen in UNSEEN for count in range(6)]
    statuses = []
    for number, spelling in enumerate(spellings):
        browser = Browser(onboarding_app)
        browser.fill(
            f"/apply?token={number}", email=spelling, name="Ada Lovelace", why=f"Reason number {number}"
        )
        statuses.append(browser.status)
    assert statuses == [303] * 10 + [429] * 2
    assert len(steps.mails(onboarding_app, email)) == 10


# -- links and hosts ----------------------------------------------------------------------------------------


def test_a_forged_host_changes_no_link(onboarding_app: Flask) -> None:
    email = steps.new_email()
    browser = Browser(onboarding_app)
    browser.get("/apply")
    form, _ = browser.find_form("apply", {})
    headers = {
        "Host": "evil.test",
        "X-Forwarded-Host": "evil.test",
        "Forwarded": "host=evil.test",
        "Origin": ORIGIN,
        "Cookie": f"id_browser={browser.cookie('id_browser')}",
    }
    http = Client(onboarding_app, TestResponse, use_cookies=False)  # the jar knows no evil.test
    page = http.post(
        "/apply", data={**dict(form.fields), "email": email, "name": "Ada", "why": "x"}, headers=headers
    )
    assert page.status_code == 303
    assert page.headers["Location"] == "/apply/sent"
    [mail] = steps.mails(onboarding_app, email)
    assert mail.context["link"].startswith(f"{ORIGIN}/apply/confirm?token=")


@pytest.mark.parametrize(
    ("wish", "kept"),
    [
        ("/oauth2/authorize/abc?x=1", "/oauth2/authorize/abc?x=1"),
        ("https://evil.test/", None),
        ("//evil.test", None),
        ("/\\evil.test", None),
        ("/a%00b", None),
        ("/" + "x" * 499, "/" + "x" * 499),
        ("/" + "x" * 500, None),
        ("", None),
    ],
)
def test_where_the_person_wanted_to_go_is_kept_when_it_is_ours(
    onboarding_app: Flask, wish: str, kept: str | None
) -> None:
    email = steps.new_email()
    steps.apply(onboarding_app, email, page=f"/apply?continue={quote(wish, safe='%')}")
    steps.confirm(onboarding_app, email)
    steps.approve(onboarding_app, email)
    assert press(onboarding_app, steps.link(onboarding_app, email, "activation_link"))["continue"] == kept


@pytest.mark.parametrize("field", ["email", "name", "why"])
def test_a_mountain_of_combining_marks_costs_next_to_nothing(onboarding_app: Flask, field: str) -> None:
    """Unicode's normal form takes quadratic time on these: unbounded, this request would run for minutes."""
    browser = Browser(onboarding_app)
    browser.get("/apply")
    token = dict(browser.find_form("apply", {})[0].fields)["csrf_token"]
    values = {"email": steps.new_email(), "name": "Ada", "why": steps.WHY, "csrf_token": token}
    values[field] = "a" + "\u0301\u0323" * 120_000
    began = time.monotonic()
    page = browser.post("/apply", values, content_type="multipart/form-data", headers={"Origin": ORIGIN})
    assert page.status_code == 422
    assert time.monotonic() - began < 20
