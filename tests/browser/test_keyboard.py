"""The whole way in, in Russian on a phone, with a keyboard alone and no script."""

import re
import uuid
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House, link_in

PASSWORD = "five green turtles swim at night"
MOST_STEPS = 80
WIDTH = 360


class Keyboard:
    """Somebody who has no pointer: Tab, letters, Space and Enter."""

    def __init__(self, page: Page, language: str = "ru"):
        self.page, self.language = page, language

    def open(self, path: str) -> None:
        """By the address bar, as from a mail."""
        self.page.goto(path)
        self.look()

    def go_to(self, selector: str) -> None:
        """Tab until it has the focus; what cannot be reached so does not exist for them."""
        for _ in range(MOST_STEPS):
            if self.page.locator(f"{selector}:focus").count():
                assert self._can_be_seen(), f"{selector} has the focus, and nothing shows it"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab on {self.page.url}")

    def write(self, selector: str, text: str) -> None:
        self.go_to(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def press(self, selector: str) -> None:
        """Enter on a button or a link, and wait for the page behind it."""
        self.go_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.look()

    def look(self) -> None:
        """Every page is in their language, has one heading, and is no wider than the screen."""
        expect(self.page.locator("html")).to_have_attribute("lang", self.language)
        expect(self.page.locator("h1")).to_have_count(1)
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= WIDTH, f"{self.page.url} is {width} px wide"

    def _can_be_seen(self) -> bool:
        found: bool = self.page.evaluate(
            "() => { const style = getComputedStyle(document.activeElement);"
            " return style.outlineStyle !== 'none' || style.boxShadow !== 'none'; }"
        )
        return found


def test_the_whole_journey_by_keyboard(house: House, person: Callable[..., BrowserContext]) -> None:
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    ada = Keyboard(person(width=WIDTH, language="ru", script=False).new_page())
    ada.open("/")
    ada.press("a[href='/apply']")
    ada.write("[name=email]", email)
    ada.write("[name=name]", "Ада Лавлейс")
    ada.write("[name=why]", "Хочу познакомиться с теми, кто строит лодки.")
    ada.press("#apply")
    ada.open(link_in(house.wait_for_mail(email)[0]["text"]))
    ada.press("#confirm")
    expect(ada.page.locator("#status")).to_be_visible()

    rita = Keyboard(person(width=WIDTH, language="ru", script=False).new_page())
    rita.open("/login?continue=/admin/applications")
    rita.language = "en"  # the administrator's own, from signing in on
    rita.write("[name=email]", ADMIN_EMAIL)
    rita.write("[name=password]", ADMIN_PASSWORD)
    rita.press("#sign-in")
    rita.write("[name=q]", email)
    with rita.page.expect_navigation():
        rita.page.keyboard.press("Enter")
    rita.press("table a")
    rita.press("#approve")
    expect(rita.page.locator(".notice.good")).to_be_visible()

    ada.open(link_in(house.mail_of(email, "activate")["text"]))
    ada.press("#activate")
    ada.write("[name=password]", PASSWORD)
    ada.press("#enrol")
    expect(ada.page).to_have_url(re.compile(r"/account$"))

    ada.open("/demo")
    ada.press("#demo-sign-in")
    ada.press("#allow")
    expect(ada.page.locator("#claims")).to_contain_text(email)
    ada.press("#demo-sign-out")
    expect(ada.page).to_have_url(re.compile("/demo/signed-out"))
