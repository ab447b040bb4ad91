"""The second step in a real browser: an app is set up, its codes and a recovery code sign in, also without script."""

import time
import uuid
from collections.abc import Callable

import pyotp
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.running import House

PASSWORD = "five green turtles swim at night"


def enter(page: Page, email: str) -> None:
    page.goto("/login?continue=/account/second-factor")
    page.fill("#email", email)
    page.fill("#password", PASSWORD)
    page.click("#sign-in")


def fits(page: Page) -> bool:
    """Whether the page needs no scrolling sideways; every page is looked at as it comes."""
    return page.locator("html").evaluate("e => e.scrollWidth <= e.clientWidth")  # type: ignore[no-any-return]


@pytest.mark.parametrize("width", [1200, 360])
def test_a_person_sets_up_an_app_and_signs_in_with_it(
    house: House, person: Callable[..., BrowserContext], width: int
) -> None:
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    made = house.command("account", "users", "create", email, "--password-stdin", input=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    page = person(width=width).new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Policy" in message.text else None)
    enter(page, email)
    page.click("#set-up")
    expect(page.locator("svg.qr")).to_be_visible()
    box = page.locator("svg.qr").bounding_box()
    assert box is not None
    assert box["width"] > 150, "a camera can read it"
    assert fits(page)
    phone = pyotp.TOTP(page.inner_text("#secret").replace(" ", ""))
    page.fill("#code", phone.now())
    page.click("#confirm")
    codes = page.locator("#codes li").all_inner_texts()
    assert len(codes) == 10
    assert fits(page)
    page.emulate_media(media="print")
    expect(page.locator("#codes")).to_be_visible()
    expect(page.locator("#download")).to_be_hidden()
    page.emulate_media(media="screen")
    with page.expect_download() as download:
        page.click("#download")
    assert codes[0] in download.value.path().read_text()
    assert not refused, "the page keeps to its own policy"

    other = person(width=width, script=False).new_page()
    enter(other, email)
    assert fits_without_script(other)
    other.fill("#code", phone.generate_otp(int(time.time()) // 30 + 1))  # that of now was used to set up
    other.click("#verify")
    expect(other.locator("#remove-app")).to_be_visible()

    third = person(width=width).new_page()
    enter(third, email)
    third.click("#other")
    third.fill("#code", codes[0].upper())
    third.click("#verify")
    expect(third.locator("#new-codes")).to_be_visible()
    assert "9" in third.inner_text("main")
    house.wait_for_mail(email, 2)


def fits_without_script(page: Page) -> bool:
    box = page.locator("main").bounding_box()
    size = page.viewport_size
    return box is not None and size is not None and box["x"] + box["width"] <= size["width"]
