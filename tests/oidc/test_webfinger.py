"""WebFinger: the issuer of an address, and nothing about who has it."""

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.oidc.relying_party import http
from tests.pages import ORIGIN

ISSUER = "http://openid.net/specs/connect/1.0/issuer"


def ask(app: Flask, **query: str) -> TestResponse:
    return http(app).get("/.well-known/webfinger", base_url=ORIGIN, query_string=query)


@pytest.mark.parametrize(
    "resource",
    ["acct:ada@localhost", "acct:nobody@localhost:8000", f"{ORIGIN}/ada", "acct:a@b@LOCALHOST", ORIGIN],
)
def test_an_address_of_ours_leads_to_the_issuer(app: Flask, resource: str) -> None:
    answer = ask(app, resource=resource, rel=ISSUER)
    assert answer.status_code == 200
    assert answer.content_type == "application/jrd+json"
    assert answer.json == {"subject": resource, "links": [{"rel": ISSUER, "href": ORIGIN}]}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_another_relation_has_no_link(app: Flask) -> None:
    assert ask(app, resource="acct:ada@localhost", rel="self").json["links"] == []


@pytest.mark.parametrize(
    "resource",
    [
        "acct:ada@elsewhere.test",
        "acct:@localhost",
        "mailto:ada@localhost",
        "https://elsewhere.test/",
        "http://[",
        "x",
    ],
)
def test_an_address_of_others_is_unknown(app: Flask, resource: str) -> None:
    assert ask(app, resource=resource).status_code == 404


@pytest.mark.parametrize(
    "query", [{}, {"resource": ""}, {"resource": "acct:" + "a" * 3000}, {"resource": "a\nb"}]
)
def test_no_address_is_a_bad_request(app: Flask, query: dict[str, str]) -> None:
    assert ask(app, **query).status_code == 400
