"""Languages: a member gets mail in the language of today, anybody else in the one that was asked for."""

import uuid
from typing import Any

import pytest
from flask import Flask

from libs.messaging.events import UserChanged
from tests.conftest import receive
from tests.notification.conftest import address, ask, deliver
from tests.sink import Sink


def member(app: Flask, email: str | None, *, locale: str, version: int = 1, sub: str | None = None) -> str:
    """Tell notification about a member; returns their sub."""
    sub = sub or str(uuid.uuid4())
    claims: dict[str, Any] = {"name": "Ada"} | ({"email": email} if email else {})
    event = UserChanged(sub=sub, version=version, status="active", roles=[], claims=claims, locale=locale)
    assert receive(app, event, "account") == "handled"
    return sub


def language_of_mail_to(app: Flask, sink: Sink, email: str, *, asked: str) -> str:
    deliver(app, ask(app, recipient=email, locale=asked))
    return str(sink.to(email)[-1].message["Content-Language"])


@pytest.mark.parametrize(
    ("asked", "language"),
    [("en", "en"), ("ru", "ru"), ("ru-RU", "ru"), ("de", "en"), ("", "en"), ("x" * 99, "en")],
)
def test_a_stranger_gets_the_language_that_was_asked_for(
    mail_app: Flask, sink: Sink, asked: str, language: str
) -> None:
    assert language_of_mail_to(mail_app, sink, address(), asked=asked) == language


def test_a_members_own_language_goes_first(mail_app: Flask, sink: Sink) -> None:
    email = address()
    member(mail_app, email.upper(), locale="ru")
    assert language_of_mail_to(mail_app, sink, email, asked="en") == "ru"


def test_a_language_chosen_after_the_request_counts(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="en")
    message = ask(mail_app, recipient=email, locale="en")
    member(mail_app, email, locale="ru", version=2, sub=sub)
    deliver(mail_app, message)
    assert sink.to(email)[0].message["Content-Language"] == "ru"


def test_an_older_snapshot_that_comes_late_changes_nothing(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="ru", version=5)
    member(mail_app, email, locale="en", version=4, sub=sub)
    member(mail_app, address(), locale="en", version=5, sub=sub)
    assert language_of_mail_to(mail_app, sink, email, asked="en") == "ru"


def test_a_changed_address_takes_its_language_along(mail_app: Flask, sink: Sink) -> None:
    old, new = address(), address()
    sub = member(mail_app, old, locale="ru")
    member(mail_app, new, locale="ru", version=2, sub=sub)
    assert language_of_mail_to(mail_app, sink, new, asked="en") == "ru"
    assert language_of_mail_to(mail_app, sink, old, asked="en") == "en"


def test_a_snapshot_without_an_address_is_passed_over(app: Flask) -> None:
    member(app, None, locale="ru")


def test_a_language_we_do_not_speak_leaves_the_one_asked_for(mail_app: Flask, sink: Sink) -> None:
    email = address()
    member(mail_app, email, locale="fr")
    assert language_of_mail_to(mail_app, sink, email, asked="ru") == "ru"
