"""Resources: staff register APIs of others; clients are allowed their scopes, and tokens are addressed to them."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from joserfc.jws import extract_compact

from libs.people.sessions import Session
from tests.account.programs import Program
from tests.conftest import run_command
from tests.oidc.programs import bearing
from tests.oidc.relying_party import RelyingParty
from tests.pages import ORIGIN, Browser

LIST = "/admin/clients/resources"


@pytest.fixture
def program(app: Flask) -> Program:
    return bearing(app, "admin")


def body(**more: Any) -> dict[str, Any]:
    word = uuid.uuid4().hex
    usual = {
        "identifier": f"https://{word}.test/api",
        "name": "Orders",
        "scopes": {f"{word}:read": "see your orders"},
    }
    return {**usual, **more}


def make(program: Program, **more: Any) -> dict[str, Any]:
    answer = program("POST", "/clients/resources", json=body(**more))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_a_token_is_addressed_to_the_resource_and_people_are_asked_in_its_words(
    app: Flask, browser: Browser, person: Session, program: Program, make_client: Callable[..., RelyingParty]
) -> None:
    made = make(program)
    [scope] = made["scopes"]
    client = make_client(scopes=("openid", scope))
    client.send(browser, scope=f"openid {scope}")
    while browser.status == 303 and browser.location.startswith(("/", ORIGIN)):
        browser.get(browser.location)
    assert "see your orders" in browser.text
    token = client.tokens(browser, scope=scope, nonce=None)["access_token"]
    assert json.loads(extract_compact(token.encode()).payload)["aud"] == made["identifier"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"identifier": "http://orders.example/api"}, "identifier"),
        ({"identifier": "https://orders.test/api#part"}, "identifier"),
        ({"identifier": "/api"}, "identifier"),
        ({"identifier": "urn:orders"}, "identifier"),
        ({"identifier": "https://user:pw@orders.test/"}, "identifier"),
        ({"identifier": "https://orders.test:port/"}, "identifier"),
        ({"identifier": "https://orders.test/a b"}, "identifier"),
        ({"identifier": "https://orders.test/\x00"}, "identifier"),
        ({"identifier": "https://" + "x" * 600 + ".test"}, "identifier"),
        ({"identifier": f"{ORIGIN}/api"}, "identifier"),
        ({"identifier": ORIGIN}, "identifier"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"scopes": {}}, "scopes"),
        ({"scopes": {"openid": "x"}}, "scopes"),
        ({"scopes": {"users:read": "x"}}, "scopes"),
        ({"scopes": {"a b": "x"}}, "scopes"),
        ({"scopes": {'a"b': "x"}}, "scopes"),
        ({"scopes": {"ä": "x"}}, "scopes"),
        ({"scopes": {"": "x"}}, "scopes"),
        ({"scopes": {"orders": ""}}, "scopes"),
        ({"scopes": {"orders": "x" * 500}}, "scopes"),
        ({"scopes": {f"s{number}": "x" for number in range(51)}}, "scopes"),
        ({"client_id": "nobody"}, "client_id"),
        ({"client_id": "a\x00b"}, "client_id"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_said_at_its_field(program: Program, wrong: dict[str, Any], field: str) -> None:
    answer = program("POST", "/clients/resources", json=body(**wrong))
    assert answer.status_code == 400, answer.text
    assert set(answer.json["errors"]) == {field}


def test_no_two_share_a_scope_or_an_identifier_whoever_comes_at_once(program: Program) -> None:
    scope = uuid.uuid4().hex
    barrier = Barrier(5)

    def register(number: int) -> int:
        barrier.wait()
        return program("POST", "/clients/resources", json=body(scopes={scope: "x"})).status_code

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(register, range(5))) == [201, 400, 400, 400, 400]
    made = make(program)
    taken = program("POST", "/clients/resources", json=body(identifier=made["identifier"]))
    assert set(taken.json["errors"]) == {"identifier"}


def test_what_apps_may_ask_for_is_neither_dropped_nor_deleted(
    app: Flask, program: Program, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.flows.clients import update_client

    made = make(program)
    path, [scope] = f"/clients/resources/{made['id']}", made["scopes"]
    client = make_client(name="Shop", scopes=("openid", scope))
    refused = program("DELETE", path)
    assert (refused.status_code, "Shop" in refused.json["detail"]) == (409, True)
    other = {"scopes": {uuid.uuid4().hex: "x"}}
    assert program("PATCH", path, json=other, headers={"If-Match": "*"}).status_code == 409
    assert program.get(path).json["scopes"] == made["scopes"]
    more = {"scopes": {**made["scopes"], uuid.uuid4().hex: "x"}}
    assert program("PATCH", path, json=more, headers={"If-Match": "*"}).status_code == 200
    with app.app_context():
        update_client(client.client_id, scopes=["openid"])
    assert program("DELETE", path).status_code == 204
    assert program("DELETE", path).status_code == 404


def test_the_client_that_introspects_has_a_secret(
    program: Program, client: RelyingParty, public_client: RelyingParty
) -> None:
    made = make(program, client_id=client.client_id)
    path = f"/clients/resources/{made['id']}"
    assert program.get(path).json["client_id"] == client.client_id
    refused = program("PATCH", path, json={"client_id": public_client.client_id}, headers={"If-Match": "*"})
    assert "client_id" in refused.json["errors"]
    assert (
        program("PATCH", path, json={"client_id": None}, headers={"If-Match": "*"}).json["client_id"] is None
    )


def test_of_two_changes_one_wins(program: Program) -> None:
    path = f"/clients/resources/{make(program)['id']}"
    tag = program.get(path).headers["ETag"]
    first = program("PATCH", path, json={"name": "A"}, headers={"If-Match": tag})
    second = program("PATCH", path, json={"name": "B"}, headers={"If-Match": tag})
    assert (first.status_code, second.status_code) == (200, 412)
    assert program("PATCH", path, json={"name": "C"}).status_code == 428


def test_resources_are_kept_by_command(app: Flask) -> None:
    word = uuid.uuid4().hex
    identifier = f"https://{word}.test"

    def run(*arguments: str) -> Any:
        return run_command(app, "resources", *arguments)

    assert run("create", identifier, "--name", "Orders", "--scope", f"{word}=see orders").exit_code == 0
    assert identifier in run("list").output
    changed = run("update", identifier, "--name", "Sales", "--json")
    assert json.loads(changed.output)["name"] == "Sales"
    assert json.loads(run("show", identifier, "--json").output)["scopes"] == {word: "see orders"}
    assert "lacks its words" in run("update", identifier, "--scope", "orders").output
    assert run("delete", identifier).exit_code == 0
    missing = run("show", identifier)
    assert (missing.exit_code, "There is no such resource" in missing.output) == (1, True)
    entries = run_command(app, "audit", "list", "--limit", "3", "--json")
    assert [entry["action"] for entry in json.loads(entries.output)] == [
        "resource.deleted",
        "resource.updated",
        "resource.created",
    ]


def test_resources_are_kept_by_pages(admin: Browser, program: Program) -> None:
    word = uuid.uuid4().hex
    fields = {
        "identifier": f"https://{word}.test",
        "name": f"Orders {word}",
        "scopes": f"{word}:a see orders\n",
    }
    admin.fill(f"{LIST}/new", button="save", **{**fields, "scopes": "openid x"})
    assert admin.status == 400
    assert f"Orders {word}" in admin.text
    admin.fill(button="save", **fields)
    assert admin.status == 303, admin.text
    made = next(
        item for item in program.get("/clients/resources").json["items"] if word in item["identifier"]
    )
    page = f"{LIST}/{made['id']}"
    admin.get(page)
    program("PATCH", f"/clients{page[14:]}", json={"name": "Theirs"}, headers={"If-Match": "*"})
    admin.fill(button="save", name="Mine")
    assert admin.status == 412
    assert "Theirs" in admin.text
    admin.fill(button="save")
    assert (admin.status, program.get(f"/clients/resources/{made['id']}").json["name"]) == (303, "Mine")
    admin.fill(page, button="delete", follow=True)
    assert "The resource is deleted." in admin.text
    assert admin.get(page).status_code == 404
    assert admin.get(f"{LIST}/nonsense").status_code == 404


def test_a_page_says_which_apps_hold_a_resource(
    admin: Browser, program: Program, make_client: Callable[..., RelyingParty]
) -> None:
    made = make(program)
    make_client(name="Shop", scopes=("openid", *made["scopes"]))
    admin.fill(f"{LIST}/{made['id']}", button="delete")
    assert (admin.status, "Shop" in admin.text) == (409, True)
