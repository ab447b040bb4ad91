"""How hard a password is to guess: the rule behind refusals, and the hint that every form gives without script."""

import random
import re
import time
import uuid
from collections.abc import Callable

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from services.account.flows.strength import estimate
from tests.account.conftest import Person, link_in, mails_to, rows, sign_in
from tests.account.password_tools import counted, mailed_link
from tests.account.test_enrolment import enter
from tests.account.test_password_links import activated
from tests.account.test_passwords import create
from tests.conftest import receive
from tests.pages import Browser, token_of

GOOD = "yellow umbrella over the quiet river"


@pytest.mark.parametrize(
    "password",
    [
        "iloveyoumyprincess",
        "manchesterunited2020",
        "liverpoolfootballclub",
        "michaeljordan23bulls",
        "letmein-letmein-letmein",
        "summer2024summer2024",
        "sunshine123sunshine1",
        "l3tm31nl3tm31nl3tm3!n",
        "1qaz2wsx3edc4rfv",
        "nimdanimdanimdanimda",
        "ivanpetrov19901990",
        "petrov-ivan-updspace",
        "gfhjkmgfhjkmgfhjkm",  # пароль, with the keyboard left in English
        "зфыыцщквзфыыцщкв1",  # password, with the keyboard left in Russian
        "любимаямамочка2020",
        "парольпривет12345",
        "фывапролджэячсми",
        "люблюнаташулюблюнаташу",
    ],
)
def test_what_guessers_try_is_refused_in_both_languages_and_on_both_keyboards(
    app: Flask, password: str
) -> None:
    assert "easy to guess" in create(app, password)


@pytest.mark.parametrize(
    "password",
    [
        "marshmallow kettle",
        "purple elephant dancing",
        "correct-horse-battery",
        "сиреневый туман над крышей",
        "Tr0ub4dour&3-xkcd",
        "kx3 vq9 zw7 pf2 mb8",
        " spaces are letters too ",
    ],
)
def test_what_somebody_thought_of_is_taken_whatever_signs_it_is_made_of(app: Flask, password: str) -> None:
    assert create(app, password) == "opened"


def test_the_words_of_the_account_are_no_strength(app: Flask) -> None:
    name, email = "Xerxes Quillfeather", f"xq-{uuid.uuid4().hex[:6]}@zanzibarclub.test"
    assert "easy to guess" in create(app, "quillfeather zanzibarclub", name=name, email=email)
    assert create(app, "quillfeather zanzibarclub", name="Ann Lee") == "opened"


def test_an_estimate_takes_bounded_time_whatever_is_typed() -> None:
    """zxcvbn alone takes seconds over a text of stand-ins for letters."""
    estimate("warm up", context=[])
    dice = random.Random(7)
    worst = [
        "".join(dice.choice("4@8({3[691!|07$5+72%") for _ in range(1000)),
        "4@8({3[691!|07$5+72%" * 50,
        "4@36!0" * 166,
        "a" * 1000,
        "ab" * 500,
        "password" * 125,
        "0123456789" * 100,
        "1/1/11 " * 140,
        "\u0301" * 1000,
        "\ufdfa" * 1000,
    ]
    for text in worst:
        began = time.process_time()
        estimate(text, context=["Ann Lee", "ann@people.test"])
        assert time.process_time() - began < 1.0, text[:20]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text(max_size=90), words=st.lists(st.text(max_size=20), max_size=3))
def test_an_estimate_never_fails(text: str, words: list[str]) -> None:
    assert estimate(text, context=words).power >= 0


def test_one_persons_words_are_not_anothers() -> None:
    mine = estimate("zanzibarclub quillfeather", context=["zanzibarclub quillfeather"])
    theirs = estimate("zanzibarclub quillfeather", context=["ann"])
    assert mine.power < 9 < 12 < theirs.power
    import zxcvbn.matching

    assert "user_inputs" not in zxcvbn.matching.RANKED_DICTIONARIES


def test_a_command_does_not_wait_for_the_dictionaries() -> None:
    import subprocess
    import sys

    code = "import services.account, sys; print('zxcvbn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- the hint --------------------------------------------------------------------------------------------------


def on_enrolment(app: Flask, browser: Browser, ticket: Callable[..., str], person: Person) -> str:
    enter(browser, ticket())
    return "password"


def on_first_link(app: Flask, browser: Browser, ticket: Callable[..., str], person: Person) -> str:
    event = activated(locale="en")
    receive(app, event, "onboarding")
    browser.get(link_in(mails_to(app, event.email)[0]))
    return "password"


def on_reset(app: Flask, browser: Browser, ticket: Callable[..., str], person: Person) -> str:
    browser.get(mailed_link(app, person.email))
    return "password"


def on_change(app: Flask, browser: Browser, ticket: Callable[..., str], person: Person) -> str:
    sign_in(browser, person)
    browser.get("/account/password")
    return "new_password"


FORMS = pytest.mark.parametrize("form", [on_enrolment, on_first_link, on_reset, on_change])
Form = Callable[[Flask, Browser, Callable[..., str], Person], str]


@FORMS
def test_every_form_that_sets_a_password_says_how_strong_it_is_without_script_and_changes_nothing(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str], person: Person, form: Form
) -> None:
    name = form(app, browser, enrol_ticket, person)
    url = browser.url
    for password, words in (
        ("short", "Use at least 15 characters."),
        ("qwertyuiopasdfgh", "Easy to guess"),
        (GOOD, "Very hard to guess."),
    ):
        with counted(app) as work:
            browser.fill(button="check-strength", **{name: password})
        assert browser.status == 200
        assert words in browser.text
        assert password not in browser.text
        assert work.hashes == 0
        assert not [text for text in work.statements if not text.lstrip().upper().startswith("SELECT")]
        assert browser.url == url
    browser.get(url)
    assert browser.status == 200


@FORMS
def test_the_first_button_is_the_one_that_sets_the_password(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str], person: Person, form: Form
) -> None:
    """The Enter key presses it."""
    form(app, browser, enrol_ticket, person)
    [buttons] = [
        f.buttons for f in _forms(browser) if any(b.get("id") == "check-strength" for b in f.buttons)
    ]
    assert [button["id"] for button in buttons][1:] == ["check-strength"]
    assert "name" not in buttons[0]
    assert re.search(r'<script src="/static/strength\.js\?v=\w+" defer>', browser.text)


def _forms(browser: Browser) -> list:  # type: ignore[type-arg]
    from tests.pages import forms_of

    return forms_of(browser.text)


def test_the_hint_gives_one_advice_in_the_readers_language(app: Flask, person: Person) -> None:
    browser = sign_in(Browser(app), person)
    advice = {
        "monkeymonkeymonkey": "It repeats itself",
        "zxcvbnm,./asdfgh": "Keys that lie in a row",
        "ann.lee.people.test": "Your name, your address",
        "michaeljordan23bulls": "a password of many people",
    }
    for password, words in advice.items():
        browser.fill("/account/password", button="check-strength", new_password=password)
        assert words in browser.text, (password, browser.text)
    browser.fill("/account/profile", button="save-language", locale="ru")
    browser.fill("/account/password", button="check-strength", new_password="monkeymonkeymonkey")
    assert "Он повторяется" in browser.text


def test_checking_is_limited_and_uses_up_nothing_of_the_limit_for_setting(app: Flask, person: Person) -> None:
    browser = Browser(app, ip="203.0.113.55")
    link = mailed_link(app, person.email)
    browser.get(link)
    statuses = []
    for _ in range(31):
        browser.fill(button="check-strength", password=GOOD)
        statuses.append(browser.status)
        if browser.status != 200:
            break
    assert statuses == [200] * 30 + [429]
    browser.fill(link, password=GOOD)
    assert browser.status == 303


def test_a_check_needs_the_forms_token_and_a_good_link(app: Flask, browser: Browser, person: Person) -> None:
    browser.post("/password/reset?token=x", {"password": GOOD, "check": "yes"})
    assert browser.status == 400
    browser.get("/login")
    token = token_of(browser)
    browser.post("/password/reset?token=x", {"csrf_token": token, "password": GOOD, "check": "yes"})
    assert browser.status == 410
    assert GOOD not in browser.text


def test_what_was_checked_stands_in_no_log(app: Flask, person: Person, log_text: Callable[[], str]) -> None:
    browser = sign_in(Browser(app), person)
    browser.fill("/account/password", button="check-strength", new_password="marked " + GOOD)
    assert "marked" not in log_text()
    assert not rows(app, "SELECT 1 FROM audit_entries t WHERE t::text LIKE '%marked%'")
