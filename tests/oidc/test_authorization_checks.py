"""The checks of the authorization endpoint: what is shown here, what the client is told, and in which order."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from libs.people.sessions import Session
from services.oidc.protocol.authorization import checks
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]


def shown(browser: Browser) -> bool:
    """Whether the answer is our own error page and leads nowhere."""
    return (
        browser.status == 400
        and 'id="error"' in browser.text
        and "Invalid request" in browser.text
        and "Location" not in browser.page.headers
    )


def told(browser: Browser) -> dict[str, str]:
    """The error that the client is redirected with."""
    assert browser.status == 303, browser.text[:1000]
    assert browser.location.startswith(REDIRECT_URI + "?"), browser.location
    answer = dict(parse_qsl(urlsplit(browser.location).query))
    assert answer["iss"] == ORIGIN
    return answer


def test_the_order_of_the_checks_is_the_one_that_security_was_read_in() -> None:
    names = [check.__name__ for check in checks.CHECKS]
    assert names[:5] == [
        "request_is_readable",
        "client_is_known",
        "pushed_request_is_found",
        "request_object_is_valid",
        "redirect_uri_is_registered",
    ]
    assert (
        names.index("response_type_is_code") < names.index("scope_is_allowed") < names.index("pkce_is_s256")
    )
    assert names.index("pkce_is_s256") < names.index("prompt_is_offered")
    assert names[-1] == "pushed_request_is_used_once"


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": None},
        {"client_id": "nobody"},
        {"client_id": "a\x00b"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.test/callback"},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": REDIRECT_URI + "?more=1"},
        {"redirect_uri": REDIRECT_URI + "#fragment"},
        {"redirect_uri": REDIRECT_URI.upper()},
        {"redirect_uri": "https://rp.test:443/callback"},
        {"redirect_uri": "https://rp.test/%63allback"},
        {"redirect_uri": "https://rp.test/x/../callback"},
        {"redirect_uri": "https://rp.test\\@evil.test/callback"},
        {"redirect_uri": [REDIRECT_URI, "https://evil.test/"]},
        {"redirect_uri": [REDIRECT_URI, REDIRECT_URI]},
    ],
    ids=str,
)
def test_until_the_redirect_uri_is_proven_errors_are_shown_on_our_own_page(
    browser: Browser, client: RelyingParty, wrong: dict[str, Any]
) -> None:
    client.send(browser, **wrong)
    assert shown(browser), (browser.status, browser.location)


def test_two_client_ids_are_no_client(browser: Browser, client: RelyingParty) -> None:
    client.send(browser, client_id=[client.client_id, client.client_id])
    assert shown(browser)


def test_a_disabled_client_is_nobody(app: Any, browser: Browser, client: RelyingParty) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    client.send(browser)
    assert shown(browser)


def test_two_registered_addresses_and_none_sent_is_an_error_page(browser: Browser, make_client: Make) -> None:
    client = make_client(redirect_uris=[REDIRECT_URI, "https://rp.test/second"])
    client.send(browser, redirect_uri=None, scope="profile")
    assert shown(browser)


def test_plain_oauth_may_leave_out_the_only_address(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser, redirect_uri=None, scope="profile", nonce=None)
    tokens = client.redeem(code, redirect_uri=None).json
    assert "id_token" not in tokens
    assert tokens["scope"] == "profile"


@pytest.mark.parametrize(
    ("sent", "is_right"),
    [
        ("http://127.0.0.1:4711/cb", True),
        ("http://[::1]:5000/cb", True),
        ("http://127.0.0.1/cb", True),
        ("http://127.0.0.1:4711/other", False),
        ("http://localhost:4711/cb", False),
        ("http://127.0.0.2:4711/cb", False),
        ("http://127.0.0.1:4711@evil.test/cb", False),
        ("http://127.0.0.1:port/cb", False),
        ("https://127.0.0.1:4711/cb", False),
        ("http://127.0.0.1:70000/cb", False),
        # What would parse to the same address is another string all the same.
        ("http://127.0.0.1:4711/cb#", False),
        ("http://127.0.0.1:4711/cb?", False),
        ("HTTP://127.0.0.1:4711/cb", False),
        (" http://127.0.0.1:4711/cb", False),
        ("http://127.0.0.1:/cb", False),
        ("http://127.0.0.1:4711/CB", False),
    ],
)
def test_only_a_native_clients_loopback_port_may_vary(
    browser: Browser, make_client: Make, sent: str, is_right: bool
) -> None:
    registered = ["http://127.0.0.1/cb", "http://[::1]/cb"]
    native = make_client(application_type="native", auth_method="none", redirect_uris=registered)
    native.send(browser, redirect_uri=sent)
    assert (browser.status == 303) is is_right
    web = make_client(redirect_uris=registered)
    web.send(browser, redirect_uri=sent)
    assert (browser.status == 303) is (sent in registered)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "CODE"}, "unsupported_response_type"),
        ({"response_mode": "web_message"}, "invalid_request"),
        ({"response_mode": ["fragment", "query"]}, "invalid_request"),
        ({"display": "hologram"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "a" * 128}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "dance"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"id_token_hint": "eyJ.e30.x"}, "invalid_request"),
        ({"login_hint": "a" * 400}, "invalid_request"),
        ({"scope": ["openid", "profile"]}, "invalid_request"),
        ({"nonce": ["one", "two"]}, "invalid_request"),
    ],
    ids=str,
)
def test_after_that_the_client_is_told_by_a_redirect(
    browser: Browser, client: RelyingParty, wrong: dict[str, Any], error: str
) -> None:
    client.send(browser, **wrong)
    answer = told(browser)
    assert answer["error"] == error
    assert answer["state"] == "a state"


def test_a_state_sent_twice_is_not_echoed(browser: Browser, client: RelyingParty) -> None:
    client.send(browser, state=["one", "two"])
    assert "state" not in told(browser)


def test_what_stands_in_query_and_body_is_sent_twice(browser: Browser, client: RelyingParty) -> None:
    parameters = client.parameters()
    browser.post("/oauth2/authorize?" + urlencode({"scope": "openid"}), parameters)
    assert told(browser)["error"] == "invalid_request"


def test_control_characters_are_refused_before_anything_is_looked_up(
    browser: Browser, client: RelyingParty
) -> None:
    client.send(browser, nonce="a\x00b")
    assert shown(browser)
    client.send(browser, state="a\r\nb")
    assert shown(browser)


def test_a_request_of_wild_length_is_refused(browser: Browser, client: RelyingParty) -> None:
    client.send(browser, state="a" * 20_000)
    assert shown(browser)


def test_the_request_may_come_as_a_post_from_another_site(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    page = browser.post("/oauth2/authorize", client.parameters(), headers={"Origin": "https://rp.test"})
    assert page.status_code == 303
    assert browser.location.startswith("/oauth2/authorize/")
    browser.get(browser.location, follow=True)
    assert 'id="allow"' in browser.text


def test_state_comes_back_as_it_was_sent_and_a_registered_query_is_kept(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(redirect_uris=[REDIRECT_URI + "?tenant=a%20b"])
    state = "a b&c=\"<é>%0d+'"
    answer = client.answer(browser, state=state)
    assert answer["state"] == state
    assert answer["tenant"] == "a b"
    assert browser.location.startswith(REDIRECT_URI + "?tenant=a%20b&")


def test_a_client_registered_without_the_code_grant_gets_no_code(browser: Browser, make_client: Make) -> None:
    client = make_client(grants=["client_credentials"])
    client.send(browser)
    assert told(browser)["error"] == "unauthorized_client"


def test_empty_parameters_count_as_left_out(browser: Browser, person: Session, client: RelyingParty) -> None:
    assert "code" in client.answer(browser, prompt="", max_age="", login_hint="", id_token_hint="")


def test_the_log_says_where_an_address_differs(
    browser: Browser, client: RelyingParty, log_text: Callable[[], str]
) -> None:
    client.send(browser, redirect_uri="https://rp.test/callbock")
    assert "redirect_uri differs from the registered one at character 22" in log_text()
    assert "OIDC.authorize" in log_text()
