"""Pairwise subjects: the apps of one sector know a person by one number, others by others, and nobody by ours."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from libs.people.sessions import Session
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

Make = Callable[..., RelyingParty]


def decoded(text: str) -> str:
    """A JWT, readable."""
    return " ".join(
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode() for part in text.split(".")[:2]
    )


def sub_of(id_token: str) -> str:
    claims: dict[str, Any] = json.loads(decoded(id_token).partition("} ")[2])
    return str(claims["sub"])


def pairwise(make_client: Make, host: str, **settings: Any) -> RelyingParty:
    return make_client(subject_type="pairwise", redirect_uris=[f"https://{host}/callback"], **settings)


def test_one_sector_one_number_another_sector_another(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    one, sister = pairwise(make_client, "one.test"), pairwise(make_client, "one.test")
    other, public = pairwise(make_client, "two.test"), make_client()
    seen = [sub_of(client.tokens(browser)["id_token"]) for client in (one, sister, other, public)]
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert seen[3] == person.sub
    somebody_else = Browser(app)
    sign_in_copy(somebody_else, app)
    assert sub_of(one.tokens(somebody_else)["id_token"]) not in seen


def test_the_number_stays_after_a_refresh_and_another_sign_in(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    client = pairwise(make_client, "one.test")
    tokens = client.tokens(browser)
    fresh = client.refresh(tokens["refresh_token"]).json
    again = Browser(app)
    sign_in_copy(again, app, sub=person.sub)
    assert sub_of(tokens["id_token"]) == sub_of(fresh["id_token"]) == sub_of(client.tokens(again)["id_token"])


def test_nothing_that_reaches_the_client_holds_our_number_or_session(
    browser: Browser, person: Session, make_client: Make
) -> None:
    for form in ("jwt", "opaque"):
        client = pairwise(make_client, "one.test", access_token_format=form)
        tokens = client.tokens(browser, scope="openid profile")
        said = [decoded(tokens["id_token"]), json.dumps(client.userinfo(tokens["access_token"]).json)]
        said.append(json.dumps(client.introspect(tokens["access_token"])))
        said.append(json.dumps(client.introspect(tokens["refresh_token"])))
        if form == "jwt":
            said.append(decoded(tokens["access_token"]))
        for text in said:
            assert person.sub not in text
            assert person.sid not in text
    assert person.sub not in urlsplit(browser.location).query


def test_all_answers_agree_on_the_number_and_the_session(
    browser: Browser, person: Session, make_client: Make
) -> None:
    seen = set()
    for form in ("jwt", "opaque"):
        client = pairwise(make_client, "one.test", access_token_format=form)
        tokens = client.tokens(browser)
        told = client.introspect(tokens["access_token"])
        assert (
            client.userinfo(tokens["access_token"]).json["sub"] == sub_of(tokens["id_token"]) == told["sub"]
        )
        assert client.introspect(tokens["refresh_token"])["sub"] == told["sub"]
        seen.add((told["sub"], told["sid"]))
    [(sub, sid)] = seen  # One sector, whatever the form.
    assert sub != person.sub
    assert sid != person.sid
