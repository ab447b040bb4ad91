"""One person's whole way in, in a real browser: apply, approve, activate, enrol, sign in to an app, sign out."""

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House, link_in, wait_for_link

PASSWORD = "five green turtles swim at night"


def sign_in(page: Page, email: str, password: str, path: str = "/login") -> None:
    page.goto(path)
    page.fill("[name=email]", email)
    page.fill("[name=password]", password)
    page.click("#sign-in")


def apply(page: Page, house: House, email: str) -> None:
    page.goto("/")
    page.goto("/apply")
    page.fill("[name=email]", email)
    page.fill("[name=name]", "Ada Lovelace")
    page.fill("[name=why]", "I would like to meet other people who build things.")
    page.click("#apply")
    page.goto(link_in(house.wait_for_mail(email)[0]["text"]))
    page.click("#confirm")
    expect(page.locator("#status")).to_be_visible()


def approve(page: Page, email: str) -> None:
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD, "/login?continue=/admin/applications")
    page.fill("[name=q]", email)
    page.press("[name=q]", "Enter")
    page.locator("table a").first.click()
    page.click("#approve")
    expect(page.locator(".notice.good")).to_be_visible()


def enrol(page: Page, house: House, email: str) -> None:
    page.goto(wait_for_link(lambda: house.mail(email), "/activate"))
    page.click("#activate")
    expect(page).to_have_url(re.compile(r"/enrol$"))
    page.fill("[name=password]", PASSWORD)
    page.click("#enrol")


@pytest.mark.parametrize(
    ("width", "language", "script"),
    [(1200, "en", True), (360, "ru", False)],
    ids=["desktop", "phone-ru-no-script"],
)
def test_a_newcomer_is_let_in_signs_in_to_an_app_and_out(
    house: House, person: Callable[..., BrowserContext], width: int, language: str, script: bool
) -> None:
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    ada = person(width=width, language=language, script=script).new_page()
    apply(ada, house, email)
    approve(person(language=language).new_page(), email)
    enrol(ada, house, email)
    expect(ada).to_have_url(re.compile(r"/account$"))

    ada.goto("/demo")
    ada.click("#demo-sign-in")
    ada.click("#allow")
    expect(ada.locator("#claims")).to_contain_text(email)
    ada.click("#demo-refresh")
    ada.click("#demo-userinfo")
    expect(ada.locator("#userinfo")).to_contain_text("Ada Lovelace")

    ada.goto("/account/sessions")
    expect(ada.locator("main")).to_contain_text("Chrom")

    ada.goto("/demo")
    ada.click("#demo-sign-out")
    expect(ada).to_have_url(re.compile("/demo/signed-out"))
    ada.goto("/account")
    expect(ada).to_have_url(re.compile("/login"))


def test_signing_out_asks_first_and_kills_the_second_tab(
    house: House, person: Callable[..., BrowserContext]
) -> None:
    context = person()
    first, second = context.new_page(), context.new_page()
    sign_in(first, ADMIN_EMAIL, ADMIN_PASSWORD)
    second.goto("/account")
    first.goto("/oauth2/logout")
    first.click("#sign-out")
    expect(first.locator("main")).to_contain_text("Signed out")
    first.go_back()
    first.reload()
    second.reload()
    expect(second).to_have_url(re.compile("/login"))


def test_an_unregistered_redirect_uri_is_shown_and_never_followed(
    house: House, person: Callable[..., BrowserContext]
) -> None:
    page = person().new_page()
    page.goto("/oauth2/authorize?client_id=nobody&response_type=code&redirect_uri=https://evil.test/")
    expect(page.locator("#error")).to_contain_text("Invalid request")
    assert page.url.startswith(house.origin)


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_its_screen(
    house: House, person: Callable[..., BrowserContext], width: int
) -> None:
    page = person(width=width).new_page()
    paths = ["/", "/apply", "/login", "/dev/mailbox", "/no-such-page", "/oauth2/authorize", "/demo"]
    for path in paths:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD)
    for path in [
        "/account",
        "/account/sessions",
        "/admin",
        "/admin/applications",
        "/admin/messages",
        "/admin/clients",
        "/admin/clients/logouts",
        "/admin/keys",
        "/account/apps",
        "/device",
        "/logout",
    ]:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_long_name_pushes_nothing_out_of_sight(house: House, person: Callable[..., BrowserContext]) -> None:
    name, uri = "<b>" + "W" * 190, "https://app.test/callback"
    assert house.command("oidc", "clients", "create", "--name", name, "--redirect-uri", uri).returncode == 0
    page = person(width=1200).new_page()
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD)
    page.goto("/admin/clients")
    expect(page.get_by_text(name)).to_be_visible()
    table = page.locator(".scroll").first
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth + 200"), "the other columns are there"
