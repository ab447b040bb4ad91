"""What mails say: complete in both languages, literal about what people typed, leading only to us."""

import re
from pathlib import Path

import pytest
from flask import Flask

from services.notification.letters import LETTERS, letter_of
from services.notification.letters.letter import UnusableContext, sample
from services.notification.writing import write
from tests.conftest import run_command
from tests.notification.conftest import ask, deliver
from tests.pages import ORIGIN
from tests.sink import Sink

NAMES = sorted(LETTERS)
ROOT = Path(__file__).resolve().parents[2]


def test_every_mail_is_asked_for_by_some_flow_and_every_one_asked_for_exists() -> None:
    flows = [file.read_text() for file in (ROOT / "services").glob("*/flows/**/*.py")]
    asked = {name for name in LETTERS if any(f'"{name}"' in text for text in flows)}
    named = {name for text in flows for name in re.findall(r'template="(\w+)"', text)}
    assert asked == set(LETTERS)
    assert named <= set(LETTERS)


def test_staff_read_of_each_mail_in_words() -> None:
    from services.notification.routes.messages import TEMPLATE_WORDS

    assert set(TEMPLATE_WORDS) == set(LETTERS)


@pytest.mark.parametrize("name", NAMES)
def test_each_mail_is_whole_in_both_languages(app: Flask, name: str) -> None:
    with app.app_context():
        letter = sample(letter_of(name), public_url=ORIGIN)
        english, russian = (write(letter, language=language) for language in ("en", "ru"))
    for mail in (english, russian):
        assert mail.subject
        assert "Ada Lovelace" in mail.text
        assert "Ada Lovelace" in mail.html
        link = getattr(letter, "link", None)
        if link:
            assert f"\n{link}\n" in mail.text
            # Each as a button and in full, or as a quiet reference; the invented ones are all alike.
            others = 2 * hasattr(letter, "not_me") + hasattr(letter, "status")
            assert mail.html.count(f'href="{link}"') == 2 + others
        assert f'<html lang="{mail.language}">' in mail.html
    latin = "".join(line for line in russian.text.splitlines() if "http" not in line and line[:1] != ">")
    invented = [value for value in vars(letter).values() if isinstance(value, str)]
    for own in (*invented, "UpdSpace ID", "UpdSpace", "UTC"):
        latin = latin.replace(own, "") if own else latin
    assert not [letter for letter in latin if letter.isascii() and letter.isalpha()]


@pytest.mark.parametrize("name", NAMES)
def test_no_mail_brings_anything_from_elsewhere(app: Flask, name: str) -> None:
    with app.app_context():
        mail = write(sample(letter_of(name), public_url=ORIGIN), language="en")
    assert "<img" not in mail.html
    assert "<script" not in mail.html
    assert "url(" not in mail.html
    assert " style=" not in mail.html
    addresses = [part.split('"')[0] for part in mail.html.split('href="')[1:]]
    assert addresses
    assert all(address.startswith(ORIGIN + "/") for address in addresses)


@pytest.mark.parametrize(
    "name",
    [
        "{{7*7}}",
        "{% raw %}",
        "%(link)s %s %%",
        "%0aBcc: everybody@people.test",
        "<script>alert(1)</script>",
        '"><a href="https://elsewhere.test">x</a>',
        "Ада & Чарльз",
        "O'Neill, Ada; <ada@people.test>",
    ],
)
def test_a_name_stays_literal(mail_app: Flask, sink: Sink, name: str) -> None:
    message = ask(mail_app, context={"name": name, "link": f"{ORIGIN}/apply/confirm?token=x"})
    assert deliver(mail_app, message).state == "sent"
    (mail,) = sink.to(message.recipient)
    assert f"Hello {name}," in mail.text
    assert "<script" not in mail.html
    assert "elsewhere.test" not in mail.html or "&gt;&lt;a href=&#34;https://elsewhere.test&#34;" in mail.html
    assert mail.message["Bcc"] is None
    assert mail.recipients == [message.recipient]


@pytest.mark.parametrize(
    "name", ["Ada\r\nBcc: all@people.test", "Ada\n\nOpen https://elsewhere.test", "A\u202eda"]
)
def test_a_name_stays_on_its_line(mail_app: Flask, sink: Sink, name: str) -> None:
    message = ask(mail_app, context={"name": name, "link": f"{ORIGIN}/apply/confirm?token=x"})
    deliver(mail_app, message)
    (mail,) = sink.to(message.recipient)
    first = mail.text.splitlines()[0]
    assert first.startswith("Hello A")
    assert first.endswith(",")
    assert "\u202e" not in mail.text
    assert mail.message["Bcc"] is None


def test_a_long_name_is_cut(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app, context={"name": "Ada " * 2000, "link": f"{ORIGIN}/x"})
    deliver(mail_app, message)
    assert len(sink.to(message.recipient)[0].text) < 1000


def test_a_reviewers_words_keep_their_lines(mail_app: Flask, sink: Sink) -> None:
    reason = "First line.\n<b>Second</b> line: {{7*7}}"
    message = ask(mail_app, template="application_rejected", context={"name": "Ada", "reason": reason})
    deliver(mail_app, message)
    (mail,) = sink.to(message.recipient)
    assert "> First line.\n> <b>Second</b> line: {{7*7}}" in mail.text
    assert "First line.\n&lt;b&gt;Second&lt;/b&gt; line: {{7*7}}" in mail.html


def test_without_a_reason_none_is_quoted(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app, template="application_rejected", context={"name": "Ada", "reason": None})
    deliver(mail_app, message)
    assert "reviewer" not in sink.to(message.recipient)[0].text


def test_a_moment_is_told_in_the_readers_language(mail_app: Flask, sink: Sink) -> None:
    context = {"name": "Ада", "link": f"{ORIGIN}/activate?token=x", "expires_at": "2030-01-31T20:30:00+02:00"}
    message = ask(mail_app, template="activation_link", context=context, locale="ru")
    deliver(mail_app, message)
    assert "31 января 2030, 18:30 UTC" in sink.to(message.recipient)[0].text


def test_templates_are_listed_and_previewed(app: Flask) -> None:
    listing = run_command(app, "templates", "list").output
    assert all(name in listing for name in NAMES)
    assert "link, expires_at" in listing
    assert "Hello Ada Lovelace," in run_command(app, "templates", "preview", "set_password").output
    russian = run_command(app, "templates", "preview", "set_password", "--locale", "ru").output
    assert "Здравствуйте, Ada Lovelace!" in russian
    assert "<!doctype html>" in run_command(app, "templates", "preview", "set_password", "--html").output
    unknown = run_command(app, "templates", "preview", "no_such_mail")
    assert unknown.exit_code == 1
    assert "No mail is named no_such_mail" in unknown.output


@pytest.mark.parametrize(
    ("left", "english", "russian"),
    [
        ("0", "You have 0 codes left.", "У вас осталось 0 кодов."),
        ("1", "You have 1 code left.", "У вас остался 1 код."),
        (2, "You have 2 codes left.", "У вас осталось 2 кода."),
        ("21", "You have 21 codes left.", "У вас остался 21 код."),
    ],
)
def test_a_number_has_its_plural(app: Flask, left: object, english: str, russian: str) -> None:
    context = {"name": "Ada", "moment": "2030-01-31T18:30:00Z", "device": "", "left": left}
    context["not_me"] = f"{ORIGIN}/account/not-me"
    with app.app_context():
        letter = letter_of("recovery_code_used").read(context, public_url=ORIGIN)
        for language, words in (("en", english), ("ru", russian)):
            assert words in write(letter, language=language).text


@pytest.mark.parametrize("left", [None, -1, True, "many", "1.5", "9" * 10])
def test_a_count_is_a_number_of_things(app: Flask, left: object) -> None:
    context = {"name": "Ada", "moment": "2030-01-31T18:30:00Z", "device": "", "left": left}
    context["not_me"] = f"{ORIGIN}/account/not-me"
    with pytest.raises(UnusableContext):
        letter_of("recovery_code_used").read(context, public_url=ORIGIN)


def test_a_country_is_told_in_the_readers_language(app: Flask) -> None:
    with app.app_context():
        letter = sample(letter_of("new_device"), public_url=ORIGIN)
        assert "198.51.100.7 (Germany)" in write(letter, language="en").text
        assert "198.51.100.7 (Германия)" in write(letter, language="ru").text


def test_what_nobody_needs_to_press_does_not_look_like_what_is_next(app: Flask) -> None:
    with app.app_context():
        html = write(sample(letter_of("data_ready"), public_url=ORIGIN), language="en").html
    assert html.count('class="button"') == 1
    assert html.count('class="button danger"') == 1


def test_a_code_is_large_in_groups_and_never_in_the_subject(app: Flask) -> None:
    with app.app_context():
        mail = write(sample(letter_of("sign_in_code"), public_url=ORIGIN), language="en")
    assert "\n    1234 5678\n" in mail.text
    assert '<p class="code"><strong>1234 5678</strong></p>' in mail.html
    assert not re.search(r"\d", mail.subject)


@pytest.mark.parametrize("code", ["", "12", "1234567x", "1234\n5678", "<b>1234</b>", "9" * 13])
def test_a_code_is_digits_alone(app: Flask, code: str) -> None:
    context = {"name": "Ada", "code": code, "moment": "2030-01-31T18:30:00Z", "device": "Firefox"}
    with pytest.raises(UnusableContext):
        letter_of("sign_in_code").read(context, public_url=ORIGIN)


def test_a_letter_of_the_release_before_lacks_what_has_a_default(app: Flask) -> None:
    with app.app_context():
        context = {"name": "Ada", "reason": None}
        mail = write(letter_of("application_rejected").read(context, public_url=ORIGIN), language="en")
    assert "/apply/status" not in mail.text
    with pytest.raises(UnusableContext):
        letter_of("application_rejected").read({"name": "Ada"}, public_url=ORIGIN)
