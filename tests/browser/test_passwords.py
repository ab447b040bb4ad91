"""A forgotten password in a real browser, and how strong a new one is: with script in place, without it by the form."""

import json
import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.test_journey import sign_in
from tests.running import House, link_in

WEAK, GOOD = "qwertyuiopasdfgh", "yellow umbrella over the quiet river"


@pytest.mark.parametrize(
    ("width", "language", "script"),
    [(1200, "en", True), (360, "ru", False)],
    ids=["desktop", "phone-ru-no-script"],
)
def test_a_person_who_forgot_their_password_sets_a_strong_one_and_is_let_in(
    house: House, person: Callable[..., BrowserContext], width: int, language: str, script: bool
) -> None:
    email = f"ida-{uuid.uuid4().hex[:8]}@people.test"
    made = house.command("account", "users", "create", email, "--verified", "--locale", language, "--json")
    assert made.returncode == 0, made.stderr
    old = json.loads(made.stdout)["password"]
    page = person(width=width, language=language, script=script).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    page.goto("/login")
    page.click("#forgotten")
    page.fill("[name=email]", email)
    page.click("#send-reset-link")
    expect(page.locator("#sent")).to_be_visible()
    page.goto(link_in(house.wait_for_mail(email)[0]["text"]))
    url = page.url

    for password, kind in ((WEAK, "bad"), (GOOD, "good")):
        page.fill("[name=password]", password)
        page.click("#check-strength")
        expect(page.locator(f"#strength .notice.{kind}")).to_be_visible()
        expect(page).to_have_url(url)
        expect(page.locator("[name=password]")).to_have_value(password if script else "")
        if script:
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0
    page.fill("[name=password]", GOOD)
    page.press("[name=password]", "Enter")
    expect(page).to_have_url(re.compile(r"/account$"))
    expect(page.locator("main")).to_contain_text(email)
    assert not complaints

    other = person(language="en").new_page()
    sign_in(other, email, old)
    expect(other.locator("#sign-in-error")).to_be_visible()
    sign_in(other, email, GOOD)
    expect(other).to_have_url(re.compile(r"/account$"))
