"""How an answer comes to the client: in the query, the fragment, or a form that its own page of ours holds."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from libs.people.sessions import Session
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import ORIGIN, Browser, forms_of

Make = Callable[..., RelyingParty]
ODD = "a b&c=\"<é>%0d+'</form>"


def posted(browser: Browser) -> dict[str, str]:
    """What the form of the page would post, and that it goes to the client alone."""
    assert browser.status == 200, browser.text
    form = next(form for form in forms_of(browser.text) if form.id == "answer")
    assert (form.action, form.method) == (REDIRECT_URI, "post")
    assert [button["id"] for button in form.buttons] == ["continue"]
    assert not form.buttons[0].get("name"), "the button adds nothing to the answer"
    return dict(form.fields)


def test_a_form_carries_the_code(browser: Browser, person: Session, client: RelyingParty) -> None:
    client.ask(browser, response_mode="form_post", state=ODD)
    browser.fill(button="allow")
    answer = posted(browser)
    assert set(answer) == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == (ODD, ORIGIN)
    assert "&lt;é&gt;%0d+" in browser.text, "escaped as HTML, and never percent-encoded"
    assert client.redeem(answer["code"]).status_code == 200


def test_its_page_needs_no_script_and_lets_none_in(
    browser: Browser, person: Session, make_client: Make
) -> None:
    page = make_client(is_first_party=True).send(browser, response_mode="form_post")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "form-action" not in policy
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "strict-origin", "our origin, and nothing of the request"
    assert page.text.count("<script") == 1
    assert "form_post" in page.text
    assert "csrf_token" not in page.text, "ours is nobody's business there"


def test_a_fragment_carries_the_code(browser: Browser, person: Session, make_client: Make) -> None:
    client = make_client(redirect_uris=[REDIRECT_URI + "?tenant=a"])
    client.ask(browser, response_mode="fragment", state=ODD)
    browser.fill(button="allow")
    target = urlsplit(browser.location)
    answer = dict(parse_qsl(target.fragment))
    assert target.query == "tenant=a"
    assert (answer["state"], answer["iss"]) == (ODD, ORIGIN)
    assert client.redeem(answer["code"]).status_code == 200


def test_errors_go_the_same_way(browser: Browser, person: Session, client: RelyingParty) -> None:
    client.send(browser, response_mode="form_post", scope="nothing")
    assert posted(browser)["error"] == "invalid_scope"
    client.send(browser, response_mode="form_post", nonce=["a", "b"])
    assert posted(browser)["error"] == "invalid_request"
    client.ask(browser, response_mode="form_post", prompt="none")
    assert posted(browser)["error"] == "consent_required"
    client.ask(browser, response_mode="form_post")
    browser.fill(button="deny")
    answer = posted(browser)
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "a state", ORIGIN)
    client.send(browser, response_mode="fragment", response_type="token")
    assert dict(parse_qsl(urlsplit(browser.location).fragment))["error"] == "unsupported_response_type"


@pytest.mark.parametrize(
    "mode", ["query.jwt", "form_post.jwt", "web_message", "FORM_POST", "form_post fragment"]
)
def test_a_mode_that_is_not_ours_is_an_error_by_the_default_one(
    browser: Browser, client: RelyingParty, mode: str
) -> None:
    client.send(browser, response_mode=mode)
    assert browser.status == 303
    assert browser.query()["error"] == "invalid_request"


def test_an_unproven_address_gets_no_form(browser: Browser, client: RelyingParty) -> None:
    client.send(browser, response_mode="form_post", redirect_uri="https://evil.test/")
    assert browser.status == 400
    assert 'id="answer"' not in browser.text


def test_the_metadata_names_the_modes(browser: Browser) -> None:
    values = browser.get("/.well-known/openid-configuration").json
    assert values["response_modes_supported"] == ["query", "fragment", "form_post"]
    assert values["acr_values_supported"] == ["1", "2", "phr"]
    assert values["display_values_supported"] == ["page", "popup", "touch", "wap"]
    assert values["claims_parameter_supported"] is True
    assert "create" in values["prompt_values_supported"]
