"""Passkeys in a real browser, with Chromium's virtual authenticator."""

import json
import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, CDPSession, Page, expect

from tests.browser.test_journey import apply, approve, sign_in
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House, wait_for_link, wait_until

NO_AUTOFILL = "PublicKeyCredential.isConditionalMediationAvailable = async () => false"
OLDER = """
    delete PublicKeyCredential.parseCreationOptionsFromJSON;
    delete PublicKeyCredential.parseRequestOptionsFromJSON;
    delete PublicKeyCredential.prototype.toJSON;
"""
"""What browsers of some years ago cannot do yet."""


class Device:
    """A page with an authenticator of its own, inside the device, which checks who holds it.

    It is always at hand, so that a page which offers passkeys in autofill is answered at once.
    """

    def __init__(self, page: Page, *, autofill: bool = False, older: bool = False):
        self.page = page
        for is_so, script in ((not autofill, NO_AUTOFILL), (older, OLDER)):
            if is_so:
                page.add_init_script(script)
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        made = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.id = made["authenticatorId"]

    def knows_its_holder(self, knows: bool) -> None:
        self.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": knows})


@pytest.fixture
def device(person: Callable[..., BrowserContext]) -> Callable[..., Device]:
    """A new person at a browser with an authenticator: `device(width=360, autofill=True)`."""

    def arrive(*, width: int = 1200, language: str = "en", **options: bool) -> Device:
        return Device(person(width=width, language=language).new_page(), **options)

    return arrive


def sign_in_to_new_account(page: Page, house: House) -> tuple[str, str]:
    """Sign in to an account that staff just opened: its address and password."""
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    done = house.command(
        "account", "users", "create", email, "--name", "Ada Lovelace", "--verified", "--json"
    )
    assert done.returncode == 0, done.stderr
    password = json.loads(done.stdout)["password"]
    sign_in(page, email, password)
    expect(page).to_have_url(re.compile(r"/account$"))
    return email, password


def add_passkey(page: Page, name: str) -> None:
    page.goto("/account/passkeys")
    page.click("#new-passkey")
    page.fill("[name=name]", name)
    page.click("#add-passkey")
    expect(page.locator(".notice.good", has_text=name)).to_be_visible()


def sign_in_by_button(page: Page, path: str = "/login") -> None:
    page.goto(path)
    page.click("#sign-in-with-passkey")


def claims_at_the_demo(page: Page) -> str:
    """What the demo app was told of the person, once they have allowed it."""
    page.goto("/demo")
    page.click("#demo-sign-in")
    page.click("#allow")
    expect(page.locator("#claims")).to_be_visible()
    return " ".join(page.locator("#claims").inner_text().split())


def forget(page: Page) -> None:
    page.context.clear_cookies()


def test_a_newcomer_enrols_with_a_passkey_and_no_password_and_apps_hear_how(
    house: House, person: Callable[..., BrowserContext], device: Callable[..., Device]
) -> None:
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    page = device(width=360).page
    apply(page, house, email)
    approve(person().new_page(), email)
    page.goto(wait_for_link(lambda: house.mail(email), "/activate"))
    page.click("#activate")
    page.click("#enrol-with-passkey")
    expect(page).to_have_url(re.compile(r"/account$"))

    claims = claims_at_the_demo(page)
    assert "acr phr" in claims
    assert '"hwk", "user", "mfa"' in claims

    # It is the only way in, and stays.
    page.goto("/account/passkeys")
    page.locator(".card a").first.click()
    page.click("#ask-to-remove-passkey")
    page.click("#remove-passkey")
    expect(page.locator(".notice.bad")).to_contain_text("only way to sign in")

    forget(page)
    sign_in_by_button(page, "/login?continue=/account/passkeys")
    expect(page).to_have_url(re.compile(r"/account/passkeys$"))
    expect(page.locator("main .card")).to_have_count(1)


def test_a_member_adds_renames_and_removes_a_passkey(house: House, device: Callable[..., Device]) -> None:
    page = device(older=True).page
    email, _ = sign_in_to_new_account(page, house)
    add_passkey(page, "Laptop")
    wait_until(lambda: house.mail(email, subject="A passkey was added to your account"))

    forget(page)
    sign_in_by_button(page)
    expect(page).to_have_url(re.compile(r"/account$"))

    # The same device has one already, and says so.
    page.goto("/account/passkeys/add")
    page.click("#add-passkey")
    expect(page.get_by_role("alert")).to_contain_text("has a passkey of yours already")

    page.goto("/account/passkeys")
    page.get_by_role("link", name="Laptop").click()
    page.fill("[name=name]", "Old laptop")
    page.click("#rename-passkey")
    page.get_by_role("link", name="Old laptop").click()
    page.click("#ask-to-remove-passkey")
    page.click("#remove-passkey")
    expect(page.locator("main")).to_contain_text("You have none yet")
    wait_until(lambda: house.mail(email, subject="A passkey was removed from your account"))

    forget(page)
    sign_in_by_button(page)
    expect(page.locator(".notice.bad")).to_contain_text("do not know this passkey")


def test_a_passkey_is_offered_in_autofill_and_lets_in_only_whom_its_device_knows(
    house: House, device: Callable[..., Device]
) -> None:
    page = (laptop := device(autofill=True)).page
    sign_in_to_new_account(page, house)
    add_passkey(page, "Laptop")
    forget(page)
    # The simulated device answers what the page asks by itself as soon as it asks, as if picked from the list.
    page.goto("/login?continue=/account/sessions")
    expect(page).to_have_url(re.compile(r"/account/sessions$"))
    expect(page.locator("main")).to_contain_text("Passkey")

    forget(page)
    laptop.knows_its_holder(False)
    page.goto("/login")
    page.click("#sign-in-with-passkey")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was chosen")
    expect(page.locator("#sign-in-with-passkey")).to_be_enabled()


def test_after_the_password_the_passkey_is_the_second_step(
    house: House, device: Callable[..., Device]
) -> None:
    page = device().page
    email, password = sign_in_to_new_account(page, house)
    add_passkey(page, "Laptop")
    forget(page)
    sign_in(page, email, password, "/login?continue=/account/sessions")
    expect(page).to_have_url(re.compile("/login/second-factor"))
    page.click("#use-passkey")
    expect(page).to_have_url(re.compile(r"/account/sessions$"))
    claims = claims_at_the_demo(page)
    assert "acr phr" in claims
    assert '"pwd", "hwk", "user", "mfa"' in claims


def test_without_script_there_is_no_button_and_a_word_why(
    house: House, person: Callable[..., BrowserContext]
) -> None:
    page = person(width=360, language="ru", script=False).new_page()
    page.goto("/login")
    expect(page.locator("#sign-in-with-passkey")).to_be_hidden()
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD, "/login?continue=/account/passkeys/add")
    expect(page.locator("#add-passkey")).to_be_hidden()
    expect(page.locator("[data-without-passkeys]")).to_be_visible()


def test_no_page_of_passkeys_is_wider_than_its_screen(house: House, device: Callable[..., Device]) -> None:
    page = device(language="ru").page
    sign_in_to_new_account(page, house)
    add_passkey(page, "Very-long-names-are-broken-wherever-they-must-be-" + "x" * 11)
    page.goto("/account/passkeys")
    passkey = page.locator(".card a").first.get_attribute("href") or ""
    for path in ("/account/passkeys", "/account/passkeys/add", passkey, f"{passkey}/remove", "/account"):
        page.goto(path)
        for width in (360, 1200):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
