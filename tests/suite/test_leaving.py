"""Taking everything along and going, through all four services as they run in production."""

import json
from urllib.parse import urlsplit

import pytest
import requests
import sqlalchemy as sa
from authlib.integrations.requests_client import OAuth2Session

from tests.running import link_in, wait_until
from tests.suite.people import PASSWORD, Member, People
from tests.suite.test_relying_parties import come_back
from tests.suite.test_secrets import SERVICES

PASSING = ("mailbox", "outbox_events", "outbox_deliveries", "erasures")
"""The mailbox is the person's own; what waits to be sent, and whose last mail has just left, goes by itself."""


@pytest.fixture
def member(people: People) -> Member:
    """Somebody who joined and changed their profile."""
    member = people.member(name="Ada Lovelace")
    member.browser.fill("/account/profile", button="save-profile", nickname="Countess", locality="London")
    assert member.browser.status == 303
    return member


def use_an_app(people: People, member: Member) -> str:
    """Sign in to an app; returns the access token."""
    client = people.client("--scope", "openid profile email address")
    with OAuth2Session(
        client["client_id"],
        client["client_secret"],
        scope="openid profile email address",
        redirect_uri="https://app.test/callback",
        code_challenge_method="S256",
    ) as app:
        app.verify, app.trust_env = people.certificate, False
        verifier = "v" * 50
        address, state = app.create_authorization_url(
            people.origin + "/oauth2/authorize", code_verifier=verifier
        )
        callback = come_back(member, address)
        token = app.fetch_token(
            people.origin + "/oauth2/token",
            authorization_response=callback,
            state=state,
            code_verifier=verifier,
        )
    access_token: str = token["access_token"]
    return access_token


def userinfo(people: People, token: str) -> requests.Response:
    with requests.Session() as http:
        http.trust_env = False
        headers = {"Authorization": f"Bearer {token}"}
        return http.get(
            people.origin + "/oauth2/userinfo", headers=headers, verify=people.certificate, timeout=30
        )


def subjects(people: People, member: Member) -> list[str]:
    return [mail["subject"] for mail in people.mail(member.email)]


def test_a_person_takes_along_what_every_service_holds(people: People, member: Member) -> None:
    claims = userinfo(people, use_an_app(people, member)).json()
    assert (claims["nickname"], claims["address"]) == ("Countess", {"locality": "London"})
    assert "App" in member.browser.get("/account/apps").text
    member.browser.fill("/account/data", button="collect-data", follow=True)
    wait_until(lambda: "Your data is ready for download" in subjects(people, member))
    link = urlsplit(link_in(people.mail(member.email)[0]["text"]))
    member.browser.fill(f"{link.path}?{link.query}", button="download-data")
    document = json.loads(member.browser.text)
    assert "missing" not in document
    parts = document["services"]
    assert parts["account"]["profile"]["nickname"] == "Countess"
    assert parts["oidc"]["subject"]["claims"]["email"] == member.email
    assert [consent["app"] for consent in parts["oidc"]["consents"]] == ["App"]
    assert [one["state"] for one in parts["onboarding"]["applications"]] == ["activated"]
    assert {"confirm_address", "activation_link"} <= {
        mail["mail"] for mail in parts["notification"]["messages"]
    }


def where(people: People, word: str) -> list[str]:
    """The tables in which a word stands."""
    found = []
    for service in SERVICES:
        url = people.suite.environ[f"{service.upper()}_DATABASE_URL"]
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
        with engine.connect() as connection:
            for table in sa.inspect(connection).get_table_names():
                query = sa.text(f'SELECT count(*) FROM "{table}" t WHERE t::text ILIKE :like')
                if table not in PASSING and connection.execute(query, {"like": f"%{word}%"}).scalar_one():
                    found.append(f"{service}.{table}")
        engine.dispose()
    return found


def test_whoever_leaves_is_forgotten_by_every_service(people: People, member: Member) -> None:
    token = use_an_app(people, member)
    known = {"account.users", "oidc.subjects", "onboarding.applications", "notification.messages"}
    assert known <= set(where(people, member.email))
    member.browser.fill("/account/erase", button="erase-account", email=member.email, follow=True)
    assert "You are signed out everywhere" in member.browser.text
    wait_until(lambda: userinfo(people, token).status_code == 401)
    wait_until(lambda: "Your account will be erased" in subjects(people, member))

    # Thinking better of it, once.
    back = people.browser()
    back.fill("/login", email=member.email, password=PASSWORD, follow=True)
    back.fill(button="keep-account", follow=True)
    assert "Your account stays." in back.text
    wait_until(lambda: "Your account stays" in subjects(people, member))

    people.command("account", "users", "erase", member.email, "--now", "--yes", "--reason", "tried out")
    wait_until(lambda: "Your account is erased" in subjects(people, member))
    back.get("/account")
    assert back.status == 303
    wait_until(lambda: set(where(people, member.email)) <= {"notification.messages"})
    # What was on its way when the event came is forgotten by the sweep, the last mail among it.
    url = people.suite.environ["NOTIFICATION_DATABASE_URL"].replace(
        "postgresql://", "postgresql+psycopg2://", 1
    )
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        waiting = connection.execute(
            sa.text(
                "SELECT count(*) FROM messages WHERE lower(recipient) = :email AND template <> 'account_erased'"
            ),
            {"email": member.email},
        ).scalar_one()
    engine.dispose()
    assert waiting == 0
    assert (
        people.command("onboarding", "applications", "list", "--limit", "10000").stdout.count(member.email)
        == 0
    )
