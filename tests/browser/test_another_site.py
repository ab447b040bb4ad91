"""The demo on a site of its own, as real apps are: cookies, redirects and sign-out across sites."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import BrowserContext, expect

from gateway.servers import free_port
from tests.browser.test_journey import sign_in
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, House, wait_until


@pytest.fixture
def app_elsewhere(house: House) -> Iterator[str]:
    """The demo in a process of its own on 127.0.0.1, which to a browser is another site than localhost."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = house.command(
        "oidc", "clients", "create", "--name", "Elsewhere", "--redirect-uri", f"{url}/callback",
        "--post-logout-redirect-uri", f"{url}/signed-out", "--scope", "openid profile email", "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    client = json.loads(made.stdout)
    environ = {name: value for name, value in house.environ.items() if name not in ("PORT", "METRICS_PORT")}
    environ |= {
        "DEMO_URL": url,
        "DEMO_CLIENT_ID": client["client_id"],
        "DEMO_CLIENT_SECRET": client["client_secret"],
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "4"]
    command += ["--no-control-socket", "gateway.demo:create_app()"]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return requests.get(url, timeout=20).status_code == 200
        except requests.ConnectionError:
            assert process.poll() is None, "the demo did not start"
            return False

    try:
        wait_until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_a_member_signs_in_to_an_app_on_another_site_and_out_again(
    house: House, person: Callable[..., BrowserContext], app_elsewhere: str
) -> None:
    page = person().new_page()
    page.goto(app_elsewhere)
    page.click("#demo-sign-in")
    # Nobody is signed in yet: the way leads over the sign-in page and back.
    page.fill("[name=email]", ADMIN_EMAIL)
    page.fill("[name=password]", ADMIN_PASSWORD)
    page.click("#sign-in")
    page.click("#allow")
    expect(page.locator("#claims")).to_contain_text(ADMIN_EMAIL)
    assert page.url.startswith(app_elsewhere)
    page.click("#demo-refresh")
    expect(page.locator("#claims")).to_contain_text(ADMIN_EMAIL)

    page.click("#demo-sign-out")
    expect(page).to_have_url(re.compile(f"^{re.escape(app_elsewhere)}/signed-out"))
    page.goto(f"{house.origin}/account")
    assert "/login" in page.url


def test_an_app_that_is_denied_is_told_so(
    house: House, person: Callable[..., BrowserContext], app_elsewhere: str
) -> None:
    page = person().new_page()
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD)
    page.goto(f"{app_elsewhere}/login")
    page.click("#deny")
    expect(page.locator("main")).to_contain_text("access_denied")
    assert page.url.startswith(app_elsewhere)
