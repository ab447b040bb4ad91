"""One person's whole way in, in Russian: each page and each mail speaks it."""

import re

from flask import Flask

from services.notification.letters import letter_of
from services.notification.writing import write
from tests.conftest import run_command
from tests.onboarding import steps
from tests.onboarding.steps import press
from tests.pages import ORIGIN, Browser

LATIN_OF_OURS = {"UpdSpace", "ID", "English", "Ada", "people", "test", "UTC", "http", "localhost"}


def is_russian(browser: Browser) -> bool:
    """Whether a page says nothing in English but names."""
    assert '<html lang="ru">' in browser.text
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>|<[^>]*>", " ", browser.text, flags=re.S)
    text = re.sub(r"\S+@\S+", " ", text)
    return not set(re.findall(r"[A-Za-z]{2,}", text)) - LATIN_OF_OURS


def test_a_newcomer_is_asked_answers_and_is_let_in_in_russian(
    onboarding_app: Flask, notification_app: Flask
) -> None:
    browser = Browser(onboarding_app)
    browser.get("/apply?language=ru")
    assert is_russian(browser)
    email = steps.new_email()
    browser.fill(button="apply", email=email, name="Ада", why="Строю лодки.", follow=True)
    assert is_russian(browser)
    assert "Проверьте почту" in browser.text

    browser.get(steps.link(onboarding_app, email, "confirm_address"))
    assert is_russian(browser)
    browser.fill(button="confirm", follow=True)
    assert is_russian(browser)
    assert "Ваша заявка у рецензентов" in browser.text

    steps.ask(onboarding_app, email, "Какие лодки?")
    page = steps.status_page(onboarding_app, email)
    browser.get(page)
    assert "Какие лодки?" in browser.text
    browser.fill(button="answer", text="Маленькие.", follow=True)
    assert is_russian(browser)
    assert "Маленькие." in browser.text

    run_command(onboarding_app, "applications", "approve", email)
    browser.get(page)
    assert is_russian(browser)
    browser.get(steps.link(onboarding_app, email, "activation_link"))
    assert is_russian(browser)
    ticket = press(onboarding_app, steps.link(onboarding_app, email, "activation_link"))
    assert (ticket["locale"], ticket["name"]) == ("ru", "Ада")
    steps.open_account(onboarding_app, email)
    browser.get(page)
    assert is_russian(browser)
    assert "Войти" in browser.text

    asked = steps.mails(onboarding_app, email)
    assert [mail.template for mail in asked] == ["confirm_address", "address_confirmed", "activation_link"]
    for mail in asked:
        assert mail.locale == "ru"
        with notification_app.app_context():
            letter = letter_of(mail.template).read(mail.context, public_url=ORIGIN)
            text = write(letter, language=mail.locale).text
        assert "Ада" in text
        assert mail.context.get("link", mail.context.get("status")) in text


def test_whoever_thinks_better_of_it_is_answered_in_russian(
    onboarding_app: Flask, notification_app: Flask
) -> None:
    browser = Browser(onboarding_app)
    browser.get("/apply?language=ru")
    email = steps.new_email()
    browser.fill(button="apply", email=email, name="Ада", why="Строю лодки.")
    browser.fill(steps.link(onboarding_app, email, "confirm_address"), button="confirm", follow=True)
    browser.get(steps.status_page(onboarding_app, email).replace("/status", "/status/withdraw"))
    assert is_russian(browser)
    browser.fill(button="withdraw", follow=True)
    assert is_russian(browser)
    [mail] = steps.mails(onboarding_app, email, "application_withdrawn")
    with notification_app.app_context():
        letter = letter_of(mail.template).read(mail.context, public_url=ORIGIN)
        assert write(letter, language=mail.locale).subject == "Ваша заявка отозвана"
