"""An answer in a form, in a real browser: sent at once by script, and by its button without."""

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

import pytest
from playwright.sync_api import BrowserContext, Route

from tests.browser.test_journey import sign_in
from tests.oidc.relying_party import challenge_of
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House

CALLBACK = "https://rp.test/callback"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_an_answer_in_a_form_reaches_the_app(
    house: House, person: Callable[..., BrowserContext], script: bool
) -> None:
    made = house.command(
        "oidc", "clients", "create", "--name", "Form post", "--redirect-uri", CALLBACK, "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    page = person(width=360, script=script).new_page()
    posted: list[tuple[str, str | None]] = []

    def app(route: Route) -> None:
        posted.append((route.request.method, route.request.post_data))
        route.fulfill(body="<h1>The app</h1>", content_type="text/html")

    page.route(CALLBACK, app)
    sign_in(page, ADMIN_EMAIL, ADMIN_PASSWORD)
    page.wait_for_url("**/account")
    request = {
        "client_id": json.loads(made.stdout)["client_id"],
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "response_mode": "form_post",
        "scope": "openid",
        "state": 'a&b "c" <d> %20 é',
        "code_challenge": challenge_of("a" * 43),
        "code_challenge_method": "S256",
    }
    page.goto("/oauth2/authorize?" + urlencode(request))
    page.click("#allow")
    if not script:
        page.click("#continue")
    page.wait_for_url(CALLBACK)
    [(method, body)] = posted
    assert method == "POST"
    answer = parse_qs(body or "")
    assert answer["state"] == [request["state"]]
    assert answer["iss"] == [house.origin]
    assert set(answer) == {"code", "state", "iss"}
