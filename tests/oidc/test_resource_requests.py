"""`resource` at the authorization endpoint (RFC 8707): registered, the client's business, and what it narrows."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.guard.single_use import digest
from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]
NOTES, MAPS, OPEN = "https://notes.test/api", "https://maps.test/v1?tenant=a", "urn:example:open"


@pytest.fixture
def resources(app: Flask) -> Iterator[None]:
    """Two APIs with scopes and one without."""
    from services.oidc.extensions import db
    from services.oidc.flows import resources as flow
    from services.oidc.models import Resource

    rows = [
        {"identifier": NOTES, "name": "Notes", "scopes": {"notes": "read your notes"}},
        {"identifier": MAPS, "name": "Maps", "scopes": {"maps": "see where you are"}},
        {"identifier": OPEN, "name": "Open", "scopes": {}},
    ]
    with app.app_context():
        with db.transaction() as session:
            session.execute(sa.insert(Resource), rows)
        flow.forget()
        yield
        with db.transaction() as session:
            session.execute(sa.delete(Resource))
        flow.forget()


@pytest.fixture
def both(resources: None, make_client: Make) -> RelyingParty:
    return make_client(scopes=["openid", "notes", "maps"])


def grant_of(app: Flask, code: str) -> Any:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    with app.app_context():
        row = sa.select(Grant.resources, Grant.scope).where(Grant.code_digest == digest(code))
        return db.session.execute(row).one()


def test_one_or_several_are_kept_and_scopes_of_others_are_dropped(
    app: Flask, browser: Browser, person: Session, both: RelyingParty
) -> None:
    client = both
    client.ask(browser, scope="openid notes maps", resource=NOTES)
    assert "read your notes" in browser.text
    assert "see where you are" not in browser.text
    browser.fill(button="allow")
    assert tuple(grant_of(app, browser.query()["code"])) == ([NOTES], "openid notes")
    code = client.code(browser, scope="notes maps openid", resource=[MAPS, NOTES, MAPS])
    assert tuple(grant_of(app, code)) == ([MAPS, NOTES], "notes maps openid")
    code = client.code(browser, scope="notes", resource=None)
    assert tuple(grant_of(app, code)) == ([], "notes")
    code = client.code(browser, scope="openid", resource=OPEN)
    assert tuple(grant_of(app, code)) == ([OPEN], "openid")


@pytest.mark.parametrize(
    "wrong",
    [
        "https://elsewhere.test/",
        NOTES + "#here",
        NOTES + "/",
        "notes",
        "//notes.test/api",
        [NOTES, "x"],
        ORIGIN,
    ],
    ids=str,
)
def test_what_is_not_registered_is_an_invalid_target(
    browser: Browser, both: RelyingParty, wrong: Any
) -> None:
    both.send(browser, scope="openid notes", resource=wrong)
    assert refused(browser) == "invalid_target"


def test_an_api_of_which_the_client_may_have_nothing_is_none_of_its_business(
    browser: Browser, resources: None, make_client: Make
) -> None:
    client = make_client(scopes=["openid", "notes"])
    client.send(browser, scope="openid", resource=MAPS)
    assert refused(browser) == "invalid_target"
    client.send(browser, scope="openid", resource=f"{ORIGIN}/api")
    assert refused(browser) == "invalid_target"


def test_when_no_scope_is_left_there_is_nothing_to_give(browser: Browser, both: RelyingParty) -> None:
    both.send(browser, scope="notes", resource=MAPS)
    assert refused(browser) == "invalid_scope"


def test_no_other_parameter_may_be_repeated(browser: Browser, both: RelyingParty) -> None:
    both.send(browser, scope=["openid", "notes"], resource=[NOTES, MAPS])
    assert refused(browser) == "invalid_request"
