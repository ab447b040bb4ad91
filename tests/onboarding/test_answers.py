"""Extra questions and the terms: shown by kind, checked against the settings, kept while something is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.settings import SettingsError
from services.onboarding.extensions import db
from services.onboarding.settings import OnboardingSettings
from tests.onboarding import steps
from tests.onboarding.test_api_own import Anybody
from tests.pages import Browser

QUESTIONS: list[dict[str, Any]] = [
    {
        "name": "city",
        "kind": "text",
        "label": {"en": "Where do you live?", "ru": "Где вы живёте?"},
        "required": True,
        "longest": 40,
    },
    {
        "name": "heard",
        "kind": "choice",
        "label": {"en": "How did you hear of us?", "ru": "Откуда вы о нас узнали?"},
        "choices": [
            {"value": "friend", "label": {"en": "From a friend", "ru": "От друга"}},
            {"value": "press", "label": {"en": "From the press", "ru": "Из прессы"}},
        ],
    },
    {
        "name": "adult",
        "kind": "checkbox",
        "label": {"en": "I am 18 or older", "ru": "Мне исполнилось 18 лет"},
        "required": True,
    },
]


@pytest.fixture
def asking(onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    steps.with_settings(
        onboarding_app,
        monkeypatch,
        EXTRA_QUESTIONS=json.dumps(QUESTIONS),
        TERMS_VERSION="2026-01",
        TERMS_URL="https://updspace.test/terms",
    )
    yield


def kept(app: Flask, email: str) -> tuple[dict[str, Any], str | None]:
    with app.app_context(), db.engine.connect() as connection:
        row = connection.execute(
            sa.text("SELECT answers, terms_version FROM applications WHERE email = :email"), {"email": email}
        ).one()
        return row.answers, row.terms_version


FULL = {"answers-city": "Omsk", "answers-heard": "friend", "answers-adult": "yes", "terms_version": "2026-01"}


def test_answers_and_terms_are_kept_and_shown_to_their_applicant(onboarding_app: Flask, asking: None) -> None:
    email = steps.apply(onboarding_app, **FULL)
    assert kept(onboarding_app, email) == (
        {"city": "Omsk", "heard": "friend", "adult": True},
        "2026-01",
    )
    browser = Browser(onboarding_app)
    browser.get(steps.link(onboarding_app, email, "confirm_address"))
    assert "From a friend" in browser.text
    assert "2026-01" in browser.text
    browser = steps.confirm(onboarding_app, email)
    for words in ("Where do you live?", "Omsk", "From a friend", "I am 18 or older", "version 2026-01"):
        assert words in browser.text


def test_the_form_asks_in_the_readers_language_and_leads_to_the_terms(
    onboarding_app: Flask, asking: None
) -> None:
    page = Browser(onboarding_app).get("/apply?language=ru").text
    for words in ("Где вы живёте?", "От друга", "Мне исполнилось 18 лет", "версия 2026-01"):
        assert words in page
    assert 'href="https://updspace.test/terms"' in page


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("answers-city", "", "answers-city"),
        ("answers-city", "x" * 41, "answers-city"),
        ("answers-heard", "elsewhere", "answers-heard"),
        ("answers-adult", "no", "answers-adult"),
        ("terms_version", "", "terms_version"),
        ("terms_version", "2025-12", "terms_version"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_the_rest_is_kept(
    onboarding_app: Flask, asking: None, field: str, value: str, error: str
) -> None:
    browser = Browser(onboarding_app)
    browser.fill(
        "/apply",
        button="apply",
        email=steps.new_email(),
        name="Ada",
        why="kept words",
        **{**FULL, field: value},
    )
    assert browser.status == 422
    assert f'id="{error}-error"' in browser.text
    assert browser.text.count('class="error"') == 1
    if field != "answers-city":
        assert "Omsk" in browser.text
    if field != "answers-heard":
        assert '<option value="friend" selected>' in browser.text
    form, _ = browser.find_form("apply", {})
    sent = dict(form.fields)
    assert ("terms_version" in sent) is (field != "terms_version")
    assert ("answers-adult" in sent) is (field != "answers-adult")


def test_an_optional_question_may_stay_open_and_what_nobody_asked_is_not_kept(
    onboarding_app: Flask, asking: None
) -> None:
    email = steps.apply(onboarding_app, **{**FULL, "answers-heard": "", "answers-shoe_size": "46"})
    assert kept(onboarding_app, email)[0] == {"city": "Omsk", "adult": True}


@pytest.mark.parametrize("city", [{"a": "b"}, ["Omsk"], [[["Omsk"]]]])
def test_an_answer_of_a_program_is_text_and_nothing_that_looks_like_it(
    onboarding_app: Flask, asking: None, city: Any
) -> None:
    body = {"email": steps.new_email(), "name": "Ada", "why": "x", "terms_version": "2026-01"}
    anybody = Anybody(onboarding_app, ip="10.66.0.2")
    answer = anybody("POST", "", json={**body, "answers": {"city": city, "adult": True}})
    assert (answer.status_code, list(answer.json["errors"])) == (422, ["answers-city"])
    assert anybody("POST", "", json={**body, "answers": {"city": "Omsk", "adult": True}}).status_code == 202


def test_newer_answers_count_until_the_address_is_confirmed(onboarding_app: Flask, asking: None) -> None:
    email = steps.apply(onboarding_app, **FULL)
    old = steps.link(onboarding_app, email, "confirm_address")
    steps.apply(onboarding_app, email, **{**FULL, "answers-city": "Tomsk"})
    assert kept(onboarding_app, email)[0]["city"] == "Tomsk"
    assert Browser(onboarding_app).get(old).status_code == 410


def test_an_answer_whose_question_is_gone_stands_under_its_name(
    onboarding_app: Flask, asking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = steps.apply(onboarding_app, **FULL)
    steps.with_settings(onboarding_app, monkeypatch, EXTRA_QUESTIONS="")
    browser = steps.confirm(onboarding_app, email)
    assert "<dt>city</dt><dd>Omsk</dd>" in browser.text


def test_without_settings_nothing_more_is_asked(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app, terms_version="2026-01")
    assert kept(onboarding_app, email) == ({}, None)
    assert "terms" not in Browser(onboarding_app).get("/apply").text


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "{{7*7}}", '" onfocus="x'])
def test_an_answer_is_literal(onboarding_app: Flask, asking: None, hostile: str) -> None:
    email = steps.apply(onboarding_app, **{**FULL, "answers-city": hostile})
    page = steps.confirm(onboarding_app, email).text
    assert "<script>alert" not in page
    assert "49" not in page.split("Where do you live?")[1].split("</dd>")[0]


def wrong(**changes: Any) -> str:
    """One question that is whole but for a change."""
    question = {"name": "city", "kind": "text", "label": {"en": "City", "ru": "Город"}}
    return json.dumps([{name: value for name, value in {**question, **changes}.items() if value is not None}])


CHOICES = [{"value": value, "label": {"en": value, "ru": value}} for value in ("a", "b")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "must be JSON"),
        ('{"name": "city"}', "a JSON list of objects"),
        ("[1]", "a JSON list of objects"),
        (wrong(name="City!"), "question 1 needs a name"),
        (wrong(name=None), "question 1 needs a name"),
        (wrong(kind="radio"), "question 'city' needs a kind: text, choice, checkbox"),
        (wrong(label={"en": "City"}), "'city' needs label in words of 'ru'"),
        (wrong(label="City"), "'city' needs label in words of 'en'"),
        (wrong(required="yes"), "required as true or false"),
        (wrong(longest=0), "longest as a number from 1 to 2000"),
        (wrong(longest=True), "longest as a number"),
        (wrong(kind="checkbox", longest=5), "longest only if its kind is text"),
        (wrong(choices=CHOICES), "choices if, and only if, its kind is choice"),
        (wrong(kind="choice"), "choices if, and only if, its kind is choice"),
        (wrong(kind="choice", choices=CHOICES[:1]), "a list of 2 to 50 choices"),
        (wrong(kind="choice", choices=[*CHOICES, CHOICES[0]]), "each choice once: 'a'"),
        (wrong(kind="choice", choices=[{"value": ""}, CHOICES[0]]), "a choice without a value"),
        (wrong(kind="choice", choices=[{"value": "a"}, CHOICES[1]]), "the label of 'a' in words of 'en'"),
        (wrong(colour="red"), "has 'colour', which means nothing"),
        (json.dumps(json.loads(wrong()) * 2), "'city' stands there twice"),
        (json.dumps(json.loads(wrong()) * 21), "20 questions at most"),
    ],
)
def test_questions_that_cannot_be_stop_the_start_with_a_sentence(
    environment: dict[str, str], text: str, words: str
) -> None:
    with pytest.raises(SettingsError, match="EXTRA_QUESTIONS") as stopped:
        OnboardingSettings.load({**environment, "EXTRA_QUESTIONS": text})
    assert words in str(stopped.value)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"TERMS_VERSION": "1"}, "TERMS_URL"),
        ({"TERMS_URL": "https://updspace.test/terms"}, "TERMS_VERSION"),
        ({"TERMS_VERSION": "1", "TERMS_URL": "http://updspace.test/terms"}, "TERMS_URL"),
        ({"TERMS_VERSION": "1", "TERMS_URL": "javascript:alert(1)"}, "TERMS_URL"),
        ({"TERMS_VERSION": "1", "TERMS_URL": "//elsewhere.test"}, "TERMS_URL"),
        ({"TERMS_VERSION": "x" * 41, "TERMS_URL": "/terms"}, "TERMS_VERSION"),
        ({"DISPOSABLE_DOMAINS": "ok.test,Not A Domain"}, "DISPOSABLE_DOMAINS"),
        ({"DISPOSABLE_DOMAINS_FILE": "/nowhere"}, "DISPOSABLE_DOMAINS_FILE"),
        ({"UNCONFIRMED_LIFETIME": "3600"}, "UNCONFIRMED_LIFETIME"),
        ({"APPROVED_LIFETIME": "3600"}, "APPROVED_LIFETIME"),
        ({"NETWORKS_KEPT": "0"}, "NETWORKS_KEPT"),
    ],
)
def test_settings_that_cannot_be_stop_the_start(
    environment: dict[str, str], values: dict[str, str], name: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        OnboardingSettings.load({**environment, **values})


def test_a_line_that_is_no_domain_is_named(environment: dict[str, str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "domains"
    file.write_text("good.test\nno domain\n")
    with pytest.raises(SettingsError, match="line 2"):
        OnboardingSettings.load({**environment, "DISPOSABLE_DOMAINS_FILE": str(file)})
