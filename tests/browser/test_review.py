"""Reviewing by the keyboard in a real browser: by its keys, and without script by Tab and Enter alone."""

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_second_factor import fits
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House


def apply(person: Callable[..., BrowserContext], name: str) -> None:
    page = person(script=False).new_page()
    page.goto("/apply")
    page.fill("#email", f"ada-{uuid.uuid4().hex[:10]}@people.test")
    page.fill("#name", name)
    page.fill("#why", "I build small boats and would like to show them.")
    page.click("#apply")
    expect(page).to_have_url(re.compile("/apply/sent$"))


def reviewer(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/login?continue=/admin/applications")
    page.fill("#email", ADMIN_EMAIL)
    page.fill("#password", ADMIN_PASSWORD)
    page.click("#sign-in")
    expect(page.locator("h1")).to_be_visible()
    return page


@pytest.mark.parametrize("width", [1200, 360])
def test_keys_move_mark_open_and_go_to_the_buttons(
    house: House, person: Callable[..., BrowserContext], width: int
) -> None:
    mark = uuid.uuid4().hex[:8]
    for number in range(3):
        apply(person, f"Nr{number} {mark}")
    page = reviewer(person(width=width))
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Policy" in message.text else None)
    page.goto(f"/admin/applications?q={mark}")
    assert fits(page)
    focused = page.locator("tr:focus-within bdi")
    page.keyboard.press("j")
    expect(focused).to_have_text(f"Nr0 {mark}")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("k")
    expect(focused).to_have_text(f"Nr1 {mark}")
    assert page.locator("tbody input:checked").count() == 2
    page.keyboard.press("?")
    expect(page.locator("#keys dl")).to_be_visible()
    page.keyboard.press("?")
    page.keyboard.press("/")
    page.keyboard.type("jx?")
    assert "jx?" in page.input_value("#q"), "whoever types means letters"
    assert page.locator("tbody input:checked").count() == 2
    page.click("#approve-marked")
    expect(page.locator(".notice.good")).to_be_visible()
    page.keyboard.press("Control+j")
    expect(focused).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1 bdi")).to_have_text(f"Nr0 {mark}")
    assert fits(page)
    page.keyboard.press("a")
    expect(page.locator("#approve")).to_be_focused()
    expect(page.locator("#state")).to_have_text("Submitted")
    page.keyboard.press("c")
    expect(page.locator("#release")).to_be_visible()
    page.keyboard.press("r")
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type("a queue is full, u see")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Rejected")
    expect(page.locator("#reason-given")).to_have_text("a queue is full, u see")
    page.keyboard.press("u")
    expect(page.locator("form.filters")).to_be_visible()
    assert not refused, "the page keeps to its own policy"


def test_all_of_it_works_without_script_by_tab_and_enter(
    house: House, person: Callable[..., BrowserContext]
) -> None:
    mark = uuid.uuid4().hex[:8]
    apply(person, f"Ada {mark}")
    page = reviewer(person(width=360, language="ru", script=False))
    page.goto(f"/admin/applications?q={mark}")
    assert fits(page)
    expect(page.locator("#keys")).to_be_hidden()
    _tab_to(page, "tbody a")
    page.keyboard.press("Enter")
    expect(page.locator("h1 bdi")).to_have_text(f"Ada {mark}")
    assert fits(page)
    for button in ("#take", "#approve", "#take-back"):
        _tab_to(page, button)
        page.keyboard.press("Enter")
        expect(page.locator(".notice.good")).to_be_visible()
        assert fits(page)


def _tab_to(page: Page, target: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(f"{target}:focus").count():
            return
    raise AssertionError(f"the keyboard does not reach {target}")
