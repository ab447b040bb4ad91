"""What tokens say of a sign-in: acr, amr and auth_time are those of the proof that was given, and no more."""

import time

from flask import Flask
from joserfc import jwt

from tests.account.conftest import PASSWORD, Person, cookie_of, sign_in
from tests.account.second_factors import full_sign_in, set_up_app
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_sign_in import jwks
from tests.pages import Browser


def said_of(client: RelyingParty, app: Flask, at_account: Browser) -> list[tuple[list[str], str, int]]:
    """amr, acr and auth_time of an ID token and an access token for whoever is signed in at account."""
    browser = Browser(app)
    browser.set_cookie("id_session", cookie_of(at_account))
    tokens = client.tokens(browser)
    claims = [
        jwt.decode(tokens["id_token"], jwks(app), algorithms=["RS256"]).claims,
        jwt.decode(tokens["access_token"], jwks(app), algorithms=["ES256"]).claims,
    ]
    return [(one["amr"], one["acr"], one["auth_time"]) for one in claims]


def make_person(account_app: Flask, email: str) -> Person:
    from services.account.flows.users import create_user

    with account_app.app_context():
        user = create_user(email=email, name="Ann Lee", password=PASSWORD)
        return Person(sub=user.sub, email=email)


def test_tokens_tell_how_the_person_signed_in(app: Flask, account_app: Flask, client: RelyingParty) -> None:
    person = make_person(account_app, "strong@people.test")
    browser = sign_in(Browser(account_app), person)
    first = said_of(client, app, browser)
    assert [(amr, acr) for amr, acr, _ in first] == [(["pwd"], "1")] * 2

    # Wait for the clock's next second, the grain of auth_time.
    while int(time.time()) <= first[0][2]:
        time.sleep(0.05)
    phone = set_up_app(account_app, browser, person)
    raised = said_of(client, app, browser)
    assert [(amr, acr) for amr, acr, _ in raised] == [(["pwd", "otp", "mfa"], "2")] * 2
    assert raised[0][2] == first[0][2], "setting up an app is no sign-in: whoever found the browser open can"

    other = said_of(client, app, full_sign_in(Browser(account_app), person, phone))
    assert [(amr, acr) for amr, acr, _ in other] == [(["pwd", "otp", "mfa"], "2")] * 2
    assert other[0][2] > first[0][2], "the sign-in with both factors is a new one"
