"""What a password must be, at the command that opens accounts."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.settings import SettingsError
from services.account.settings import AccountSettings
from tests.account.conftest import Person, rows
from tests.conftest import run_command
from tests.pages import Browser


def create(app: Flask, password: str, *, name: str = "Ivan Petrov", email: str = "") -> str:
    email = email or f"ivan-{uuid.uuid4().hex[:8]}@people.test"
    result = run_command(
        app, "users", "create", email, "--name", name, "--password-stdin", input=password + "\n"
    )
    return "opened" if result.exit_code == 0 else result.output


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "зелёный чайник на окне",
        "緑のやかんが窓辺で歌っている朝です",
        "839201748593021",
        "x9$Kq!7#mB2@vL5^",
        "🫖🪟🌵🧶🎻🪁🧭🛶🪵🫧🪺🧯🪔🎐🧿",
        "the quick brown fox is late for tea " * 20,
    ],
)
def test_long_passwords_of_any_characters_are_taken(app: Flask, password: str) -> None:
    assert create(app, password) == "opened"


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("fourteen chars", "at least 15"),
        ("п" * 7, "at least 15"),
        ("ab" * 501, "at most 1000"),
        ("qwertyuiopasdfgh", "easy to guess"),
        ("123456789012345", "easy to guess"),
        ("P@ssw0rd-P@ssw0rd1", "easy to guess"),
        ("ivan.petrov.2026!", "easy to guess"),
        ("updspace-id-12345", "easy to guess"),
        ("йцукенгшщзхъ123", "easy to guess"),
        ("abcabcabcabcabcabc", "easy to guess"),
    ],
)
def test_short_and_guessable_ones_are_refused_with_the_reason(app: Flask, password: str, words: str) -> None:
    assert words in create(app, password)


def test_the_address_itself_is_no_password(app: Flask) -> None:
    assert "easy to guess" in create(app, "vladislav.k@longdomain.test", email="vladislav.k@longdomain.test")


def test_nothing_of_a_long_password_is_cut_off(app: Flask, make_person: Callable[..., Person]) -> None:
    long = "many different words make a long line " * 27
    person = make_person(password=long[:1000])
    browser = Browser(app)
    browser.fill("/login", email=person.email, password=long[:999])
    assert browser.status == 422
    browser.fill(email=person.email, password=long[:1000])
    assert browser.status == 303


def test_only_argon2id_hashes_are_kept(
    app: Flask, person: Person, make_person: Callable[..., Person]
) -> None:
    people = [person, make_person()]  # of one password
    query = """SELECT hash FROM password_credentials JOIN users ON users.id = user_id
        WHERE sub = ANY(CAST(:subs AS uuid[]))"""
    stored = [row.hash for row in rows(app, query, subs=[one.sub for one in people])]
    assert len(set(stored)) == len(people)
    assert all(text.startswith("$argon2id$") for text in stored)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD_MIN_LENGTH", "7"),
        ("PASSWORD_MAX_LENGTH", "63"),
        ("ARGON2_TIME_COST", "0"),
        ("ARGON2_MEMORY_KIB", "1"),
        ("HASHING_CONCURRENCY", "0"),
        ("SESSION_ABSOLUTE_LIFETIME", "60"),
        ("PASSWORD_MIN_LENGTH", "many"),
    ],
)
def test_settings_that_weaken_the_rules_stop_the_start_by_name(
    environment: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        AccountSettings.load({**environment, name: value})
