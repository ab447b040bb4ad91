"""Signing out in a real browser: the apps of the session are visited in frames, and told behind its back."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.test_journey import sign_in
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, House, wait_until

REGISTER = """
import json, sys
from services.oidc import create_app
from services.oidc.flows.clients import create_client

with create_app().app_context():
    made = create_client(**json.loads(sys.argv[1]))
print("CLIENT", made.client.client_id, made.secret)
"""


@dataclass
class App:
    """A relying party on 127.0.0.1, which to a browser is another site than localhost."""

    url: str = ""
    client_id: str = ""
    secret: str = field(default="", repr=False)
    codes: list[str] = field(default_factory=list)
    visits: list[dict[str, list[str]]] = field(default_factory=list)
    """What its front-channel address was visited with."""
    referrers: list[str | None] = field(default_factory=list)
    logout_tokens: list[str] = field(default_factory=list)

    def request(self) -> str:
        """Where it sends people to sign in."""
        return "/oauth2/authorize?" + urlencode(
            {
                "client_id": self.client_id,
                "redirect_uri": f"{self.url}/callback",
                "response_type": "code",
                "scope": "openid",
            }
        )


@pytest.fixture
def app(house: House) -> Iterator[App]:
    app = App()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/callback":
                app.codes += parse_qs(asked.query)["code"]
            elif asked.path == "/front":
                app.visits.append(parse_qs(asked.query))
                app.referrers.append(self.headers["Referer"])
            self._say(b"<p>Here is the app.</p>")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            app.logout_tokens += parse_qs(body)["logout_token"]
            self._say(b"")

        def _say(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    app.url = f"http://127.0.0.1:{server.server_address[1]}"
    settings = {
        "name": "Calendar",
        "redirect_uris": [f"{app.url}/callback"],
        "post_logout_redirect_uris": [f"{app.url}/bye"],
        "frontchannel_logout_uri": f"{app.url}/front",
        "backchannel_logout_uri": f"{app.url}/back",
        "is_first_party": True,
        "require_pkce": False,
    }
    made = subprocess.run(
        [sys.executable, "-c", REGISTER, json.dumps(settings)],
        cwd=ROOT, env=house.environ, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    _, app.client_id, app.secret = made.stdout.splitlines()[-1].split()
    yield app
    server.shutdown()
    server.server_close()


def signed_in(person: Callable[..., BrowserContext], app: App, house: House, **options: Any) -> Any:
    """A browser in which the app has signed somebody in, and its page."""
    page = person(**options).new_page()
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD)
    page.goto(app.request())
    expect(page).to_have_url(re.compile(re.escape(f"{app.url}/callback")))
    redeemed = house.browser().http.post(
        f"{house.origin}/oauth2/token",
        data={
            "grant_type": "authorization_code",
            "code": app.codes[-1],
            "redirect_uri": f"{app.url}/callback",
        },
        auth=(app.client_id, app.secret),
        timeout=30,
    )
    assert redeemed.status_code == 200, redeemed.text
    return page


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_signing_out_here_visits_the_app_and_tells_it_behind_the_browser(
    house: House, person: Callable[..., BrowserContext], app: App, script: bool
) -> None:
    page = signed_in(person, app, house, script=script)
    page.goto(f"{house.origin}/logout")
    page.click("#sign-out")
    expect(page.locator("main")).to_contain_text("Signed out")
    wait_until(lambda: app.visits)
    [visit] = app.visits
    assert visit["iss"] == [house.origin]
    assert len(visit["sid"]) == 1
    assert app.referrers == [None], "the address of our page holds a ticket"
    wait_until(lambda: app.logout_tokens)


def test_signing_out_at_the_app_s_request_goes_on_to_it_by_itself(
    house: House, person: Callable[..., BrowserContext], app: App
) -> None:
    page = signed_in(person, app, house, script=False)
    wish = {"client_id": app.client_id, "post_logout_redirect_uri": f"{app.url}/bye", "state": "a b"}
    page.goto(f"{house.origin}/oauth2/logout?{urlencode(wish)}")
    page.click("#sign-out")
    expect(page.locator("#continue")).to_be_visible()
    expect(page).to_have_url(f"{app.url}/bye?state=a+b")
    assert len(app.visits) == 1
    wait_until(lambda: app.logout_tokens)
    page.goto(f"{house.origin}/account")
    expect(page).to_have_url(re.compile("/login"))
