"""An authenticator app for tests, and people who have one."""

import html
import re
import time
from dataclasses import dataclass, field

import pyotp
from flask import Flask

from tests.account.conftest import Person, execute, sign_in
from tests.pages import Browser


@dataclass
class App:
    """A person's authenticator app and what they wrote down."""

    secret: str = field(repr=False)
    recovery_codes: list[str] = field(default_factory=list, repr=False)

    def code(self, *, steps: int = 0) -> str:
        """The code of now, or of so many half minutes later."""
        return pyotp.TOTP(self.secret).generate_otp(int(time.time()) // 30 + steps)


def set_up_app(flask_app: Flask, browser: Browser, person: Person) -> App:
    """Set the app up on the page, on a browser that has just signed in. Its codes of now can be used again."""
    browser.fill("/account/second-factor", button="set-up", follow=True)
    app = App(secret_in(browser.text))
    browser.fill(code=app.code())
    assert browser.status in (200, 303), browser.text
    app.recovery_codes = codes_in(browser.text)
    unspend(flask_app, person)
    return app


def person_with_app(flask_app: Flask, browser: Browser, person: Person) -> App:
    """Give the person an app; the browser that they did it on is signed in."""
    return set_up_app(flask_app, sign_in(browser, person), person)


def unspend(flask_app: Flask, person: Person) -> None:
    """Let the app's codes of now work once more, as if half a minute had passed."""
    execute(
        flask_app,
        "UPDATE totp_credentials SET last_step = 0 FROM users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )


def half_sign_in(browser: Browser, person: Person, path: str = "/login") -> Browser:
    """The first step alone."""
    browser.fill(path, email=person.email, password=person.password)
    assert browser.status == 303, browser.text
    assert browser.location.startswith("/login/second-factor"), browser.location
    return browser


def full_sign_in(browser: Browser, person: Person, app: App, path: str = "/login") -> Browser:
    """Both steps."""
    half_sign_in(browser, person, path)
    browser.fill(browser.location, code=app.code())
    assert browser.status == 303, browser.text
    return browser


def secret_in(page: str) -> str:
    found = re.search(r'<code id="secret">([A-Z2-7 ]+)</code>', page)
    assert found, page
    return found[1].replace(" ", "")


def codes_in(page: str) -> list[str]:
    return [html.unescape(code) for code in re.findall(r"<li><code>([^<]+)</code></li>", page)]
