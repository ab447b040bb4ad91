"""Signs of abuse on the page of an application, and what else came from where it came from."""

import dataclasses
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.onboarding.models import Application, Policy
from tests.onboarding import steps
from tests.pages import Browser


def look(app: Flask, email: str) -> Browser:
    browser = steps.reviewer(app)
    browser.get(steps.page_of(app, email))
    assert browser.status == 200
    return browser


def change(app: Flask, emails: list[str], **values: Any) -> None:
    with app.app_context():
        session = parts_of(app).db.session
        session.execute(sa.update(Application).where(Application.email.in_(emails)).values(**values))
        session.commit()


def some_text() -> str:
    return f"I am writing to you because of {uuid.uuid4()} and nothing else."


def test_an_ordinary_application_bears_no_sign(onboarding_app: Flask) -> None:
    browser = look(onboarding_app, steps.apply(onboarding_app, why=some_text()))
    assert 'id="signs"' not in browser.text
    assert 'id="neighbours"' not in browser.text


def test_many_from_one_network_are_a_sign_and_are_listed(onboarding_app: Flask) -> None:
    emails = [steps.apply(onboarding_app, name=f"Near {n}", why=some_text()) for n in range(5)]
    network = f"198.51.{uuid.uuid4().int % 250}.0/24"
    change(onboarding_app, emails[:4], network=network)
    browser = look(onboarding_app, emails[3])
    assert 'id="signs"' not in browser.text, "four are a household"
    assert network in browser.text
    neighbours = browser.text.split('id="neighbours"')[1]
    assert [f"Near {n}" in neighbours for n in range(5)] == [True, True, True, False, False]
    change(onboarding_app, emails[4:], network=network)
    assert "5 applications came from this network within a day." in look(onboarding_app, emails[4]).text


def test_an_address_that_comes_again_is_a_sign(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app, why=some_text())
    steps.reviewer(onboarding_app).fill(steps.page_of(onboarding_app, email), button="reject")
    steps.apply(onboarding_app, email, why=some_text())
    browser = look(onboarding_app, email)
    assert "2 applications came from this address within 30 days." in browser.text
    assert "Rejected" in browser.text.split('id="others"')[1]


def test_links_are_a_sign_in_a_name_or_a_text(onboarding_app: Flask) -> None:
    in_text = steps.apply(onboarding_app, why=f"See https://pills.shop/a?b and www.b.com. {some_text()}")
    assert "There are 2 links in the answers." in look(onboarding_app, in_text).text
    in_name = steps.apply(onboarding_app, name="Visit cheap-pills.shop", why=some_text())
    assert "There is a link in the name." in look(onboarding_app, in_name).text


def test_the_same_text_from_another_address_is_a_sign(onboarding_app: Flask) -> None:
    text = some_text()
    first = steps.apply(onboarding_app, why=text)
    second = steps.apply(onboarding_app, why=text.upper())
    steps.apply(onboarding_app, why=text + " Or nearly so.")
    for email in (first, second):
        assert "1 other application has the same text." in look(onboarding_app, email).text
    short = [steps.apply(onboarding_app, why="Let me in!") for _ in range(2)]
    assert 'id="signs"' not in look(onboarding_app, short[0]).text, "short texts are alike by chance"


@pytest.mark.parametrize("domain", ["people.test", "mail.people.test"])
def test_a_domain_that_the_policy_refuses_is_a_sign(onboarding_app: Flask, domain: str) -> None:
    email = steps.apply(onboarding_app, f"ada-{uuid.uuid4().hex[:8]}@{domain}", why=some_text())
    with onboarding_app.app_context():
        session = parts_of(onboarding_app).db.session
        session.execute(sa.update(Policy).values(refused_domains=["people.test"]))
        session.commit()
        try:
            browser = look(onboarding_app, email)
        finally:
            session.execute(sa.update(Policy).values(refused_domains=[]))
            session.commit()
    assert "The policy refuses this mail domain." in browser.text


def test_a_throw_away_address_is_a_sign(onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    email = steps.apply(onboarding_app, f"ada-{uuid.uuid4().hex[:8]}@in.minutes.test", why=some_text())
    parts = parts_of(onboarding_app)
    settings = dataclasses.replace(parts.settings, DISPOSABLE_DOMAINS=("minutes.test",))
    monkeypatch.setattr(parts, "settings", settings)
    assert "a service for throw-away addresses" in look(onboarding_app, email).text


def test_answers_to_further_questions_are_shown(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app, why=some_text())
    answers = {"craft": "Boats\n& <b>oars</b>", "is_member": True, "wants_mail": False}
    change(onboarding_app, [email], answers=answers, roles=["support"], terms_version="2030-01")
    text = look(onboarding_app, email).text
    assert "<dt>craft</dt>" in text
    assert "Boats<br>&amp; &lt;b&gt;oars&lt;/b&gt;" in text
    assert "<dd>Yes</dd>" in text
    assert "<dd>No</dd>" in text
    assert "2030-01" in text
    assert "<dd>Support</dd>" in text
