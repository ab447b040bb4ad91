"""Whatever is sent to the authorization endpoint: never a failure, never a way to an address that is not registered."""

import json
import string
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.conftest import sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, challenge_of
from tests.pages import ORIGIN, Browser, forms_of

OFTEN = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = (
    *(
        "client_id",
        "redirect_uri",
        "response_type",
        "response_mode",
        "scope",
        "state",
        "nonce",
        "prompt",
        "max_age",
    ),
    *(
        "code_challenge",
        "code_challenge_method",
        "display",
        "ui_locales",
        "claims_locales",
        "login_hint",
        "acr_values",
    ),
    *("id_token_hint", "claims", "resource", "request", "request_uri", "registration", "unknown"),
)
LIKELY = (
    *(REDIRECT_URI, REDIRECT_URI + "/", "https://evil.test/", "//evil.test", "javascript:alert(1)", "code", "token"),
    *("code id_token", "query", "fragment", "form_post", "openid", "openid email", "openid offline_access", "nothing"),
    *("none", "login", "consent", "select_account", "create", "none login", "0", "-1", "99999999999", "S256", "plain"),
    *("page", "wap", "ru", "1", "2", "phr", '{"userinfo": {"email": null}}', '{"id_token": {"acr": {"essential": true,'
      ' "value": "2"}}}', '{"id_token": {"sub": {"value": "x"}}}', "{", "[[[[", "eyJhbGciOiJub25lIn0.e30."),
    ORIGIN + "/api",
    challenge_of("a" * 43),
)  # fmt: skip
odd = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
values = st.one_of(st.sampled_from(LIKELY), odd)
changes = st.dictionaries(st.sampled_from(NAMES), st.lists(values, max_size=3), max_size=5)


@pytest.fixture(scope="module")
def parties(oidc_app: Flask) -> tuple[RelyingParty, RelyingParty, Browser, Browser]:
    """A client whose people are asked and one of ours; a browser with a person on it and one without."""
    from services.oidc.flows.clients import create_client

    made = []
    with oidc_app.app_context():
        for is_first_party in (False, True):
            new = create_client(
                name="Properties",
                redirect_uris=[REDIRECT_URI],
                scopes=["openid", "profile", "email", "offline_access"],
                is_first_party=is_first_party,
            )
            made.append(RelyingParty(app=oidc_app, client_id=new.client.client_id, secret=new.secret))
    signed_in = Browser(oidc_app)
    sign_in_copy(signed_in, oidc_app)
    return made[0], made[1], signed_in, Browser(oidc_app)


def answer_in(browser: Browser) -> dict[str, list[str]] | None:
    """The authorization response that the browser carries to the client now; None for our own pages and steps."""
    if browser.status == 200:
        form = next((form for form in forms_of(browser.text) if form.id == "answer"), None)
        if form is None:
            return None
        assert form.action == REDIRECT_URI
        return {name: [value] for name, value in form.fields}
    if browser.status != 303 or browser.location.startswith("/"):
        assert "//" not in browser.location[:2], "a path of ours, and no other host"
        return None
    target = urlsplit(browser.location)
    assert target._replace(query="", fragment="").geturl() == REDIRECT_URI, browser.location
    return parse_qs(target.fragment or target.query, keep_blank_values=True)


@OFTEN
@given(changed=changes, is_signed_in=st.booleans(), is_ours=st.booleans(), by_post=st.booleans())
def test_every_request_gets_an_answer_that_leads_nowhere_else(
    parties: Any,
    changed: dict[str, list[str]],
    is_signed_in: bool,
    is_ours: bool,
    by_post: bool,
) -> None:
    client, browser = parties[is_ours], parties[2 if is_signed_in else 3]
    sent: dict[str, list[str]] = {name: [value] for name, value in client.parameters().items()}
    sent |= changed
    if by_post:
        browser.post("/oauth2/authorize", sent, headers={"Origin": "https://rp.test"})
    else:
        browser.get("/oauth2/authorize?" + urlencode(sent, doseq=True))
    for _ in range(4):
        if browser.status != 303 or not browser.location.startswith("/oauth2/"):
            break
        browser.get(browser.location)
    assert browser.status in (200, 303, 400), (browser.status, sent)
    answer = answer_in(browser)
    if answer is None:
        if browser.status == 400:
            assert 'id="error"' in browser.text
        return
    assert answer["iss"] == [ORIGIN]
    assert ("code" in answer) is not ("error" in answer)
    state = [value for value in sent["state"] if value]
    assert answer.get("state", []) == (state if len(sent["state"]) == 1 else [])
    if "code" in answer:
        assert is_signed_in
        for name in ("client_id", "redirect_uri", "response_type"):
            assert len(sent[name]) == 1
        assert sent["response_type"] == ["code"]


@settings(OFTEN, max_examples=40)
@given(
    uri=st.one_of(
        values, st.text(alphabet=string.printable, max_size=60).map(lambda text: REDIRECT_URI + text)
    )
)
def test_no_address_but_the_registered_one_is_ever_gone_to(parties: Any, uri: str) -> None:
    assume(uri != REDIRECT_URI)
    client, browser = parties[1], parties[2]
    for mode in ("query", "form_post"):
        client.send(browser, redirect_uri=uri, response_mode=mode)
        assert browser.status == 400
        assert "Location" not in browser.page.headers
        assert not any(form.id == "answer" for form in forms_of(browser.text))


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
wishes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["id_token", "userinfo", "sub", "acr", "email", "essential", "value", "values", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@OFTEN
@given(wish=wishes)
def test_every_claims_parameter_is_understood_or_refused(wish: Any) -> None:
    from services.oidc.protocol.authorization.claims_request import Unreadable, read_claims_request

    try:
        found = read_claims_request(json.dumps(wish))
    except Unreadable:
        return
    assert isinstance(wish, dict)
    assert set(found.names) <= {"id_token", "userinfo"}
    assert all(isinstance(value, str) for value in [*found.acr_values, *(found.subs or [])])
    assert found.subs != []
