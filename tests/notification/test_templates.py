"""Staff read what we write, with invented content."""

import re

import pytest
from flask import Flask

from services.notification.letters import LETTERS
from services.notification.routes.messages import TEMPLATE_WORDS
from tests.conftest import sign_in_copy
from tests.pages import ORIGIN, Browser


@pytest.fixture
def reviewer(app: Flask, browser: Browser) -> Browser:
    sign_in_copy(browser, app, roles=["reviewer"])
    return browser


def test_the_list_names_every_mail_in_words_with_subjects_and_what_it_needs(reviewer: Browser) -> None:
    reviewer.get("/admin/messages/templates")
    for name in LETTERS:
        assert f'href="/admin/messages/templates/{name}"' in reviewer.text
        assert str(TEMPLATE_WORDS[name]) in reviewer.text
    assert '<p lang="en">Welcome: your application is approved</p>' in reviewer.text
    assert '<p lang="ru">Добро пожаловать: ваша заявка одобрена</p>' in reviewer.text
    assert "<code>expires_at</code>" in reviewer.text


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Open your account"), ("ru", "Открыть аккаунт"), ("wild", "Open your account")],
)
def test_a_mail_is_shown_as_text_and_in_a_frame_that_may_do_nothing(
    reviewer: Browser, language: str, words: str
) -> None:
    page = reviewer.get(f"/admin/messages/templates/activation_link?language={language}")
    assert f"{words}:\n{ORIGIN}/preview?token=an-invented-token" in reviewer.text
    assert f"frame-src {ORIGIN}" in page.headers["Content-Security-Policy"]
    frame = re.search(r'<iframe [^>]*src="([^"]+)"[^>]* sandbox=""', reviewer.text)
    assert frame
    inner = reviewer.get(frame[1].replace("&amp;", "&"))
    assert f">{words}</a>" in inner.text
    policy = inner.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'self'", "form-action 'none'", "sandbox"} <= set(policy)
    assert inner.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_every_mail_can_be_looked_at(reviewer: Browser) -> None:
    for name in LETTERS:
        for path in (f"/admin/messages/templates/{name}", f"/admin/messages/templates/{name}/html"):
            assert reviewer.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["no_such_mail", "no_such_mail/html", "%00", "..%2f"])
def test_a_mail_nobody_knows_is_not_found(reviewer: Browser, path: str) -> None:
    assert reviewer.get(f"/admin/messages/templates/{path}").status_code == 404


@pytest.mark.parametrize(("roles", "status"), [([], 403), (["support"], 200), (["reviewer"], 200)])
def test_templates_are_for_staff(app: Flask, browser: Browser, roles: list[str], status: int) -> None:
    sign_in_copy(browser, app, roles=roles)
    for path in ("", "/new_device", "/new_device/html"):
        assert browser.get(f"/admin/messages/templates{path}").status_code == status
