"""/api/v1/clients: every setting there, shown, made, replaced, changed; secrets once; one of two changes wins."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.web.api import openapi_document
from tests.account.programs import Program
from tests.oidc.programs import bearing
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

URI = "https://billing.test/callback"


@pytest.fixture
def program(app: Flask) -> Program:
    """An administrator's."""
    return bearing(app, "admin")


def make(program: Program, **more: Any) -> dict[str, Any]:
    body = {"name": "Billing", "redirect_uris": [URI], **more}
    answer = program("POST", "/clients", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_a_client_made_by_the_api_signs_people_in(
    app: Flask, browser: Browser, person: Session, program: Program
) -> None:
    made = make(program)
    client_id = made["client"]["client_id"]
    party = RelyingParty(app=app, client_id=client_id, secret=made["client_secret"], redirect_uri=URI)
    assert party.tokens(browser)["token_type"] == "Bearer"


def test_every_setting_is_there_and_has_its_words(app: Flask, program: Program) -> None:
    from services.oidc.flows.clients import SETTINGS

    document = openapi_document(app)
    assert document is not None
    names = {setting.name for setting in SETTINGS}
    for shape in ("NewClient", "ClientChanges", "Client"):
        properties = document["components"]["schemas"][shape]["properties"]
        assert names <= set(properties), shape
        assert all(properties[name]["description"] for name in names), shape
    shown = program.get(f"/clients/{make(program)['client']['client_id']}").json
    assert names <= set(shown)
    assert shown["require_pkce"] is True, "what was not said is as usual"


def test_the_secret_is_in_one_answer_alone(program: Program) -> None:
    made = make(program)
    path = f"/clients/{made['client']['client_id']}"
    created = program(
        "POST", "/clients", json={"name": "Public", "redirect_uris": [URI], "auth_method": "none"}
    )
    assert created.json["client_secret"] is None
    assert created.headers["Cache-Control"] == "no-store"
    for found in (program.get(path), program.get("/clients"), program.get(f"{path}/secrets")):
        assert found.status_code == 200
        assert made["client_secret"] not in found.text
    [secret] = program.get(f"{path}/secrets").json["items"]
    assert (secret["expires_at"], secret["last_used_at"]) == (None, None)


def test_a_rotated_secret_overlaps_with_the_one_before(app: Flask, program: Program) -> None:
    from services.oidc.flows.clients import verify_secret

    made = make(program)
    client_id, old = made["client"]["client_id"], made["client_secret"]

    def is_right(secret: str) -> bool:
        with app.app_context():
            return verify_secret(client_id, secret=secret)

    new = program("POST", f"/clients/{client_id}/rotate-secret").json["client_secret"]
    assert is_right(old)
    assert is_right(new)
    newest = program("POST", f"/clients/{client_id}/rotate-secret", json={"overlap_seconds": 0}).json
    assert [is_right(secret) for secret in (old, new, newest["client_secret"])] == [False, False, True]
    public = make(program, auth_method="none")["client"]["client_id"]
    assert program("POST", f"/clients/{public}/rotate-secret").status_code == 400


def test_a_secret_may_be_made_for_a_while(program: Program) -> None:
    path = f"/clients/{make(program)['client']['client_id']}"
    body = {"lifetime_seconds": 3600}
    assert program("POST", f"{path}/rotate-secret", json=body).status_code == 200
    newest, earlier = program.get(f"{path}/secrets").json["items"]
    made, ends = (datetime.fromisoformat(newest[name]) for name in ("created_at", "expires_at"))
    assert round((ends - made).total_seconds()) == 3600
    assert earlier["created_at"] < newest["created_at"]
    for wrong in (0, -1, 10**12, "3600", 1.5):
        answer = program("POST", f"{path}/rotate-secret", json={"lifetime_seconds": wrong})
        assert answer.status_code == 422, wrong


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_change_that_needs_a_secret_tells_it_in_its_answer_alone(
    app: Flask, program: Program, method: str
) -> None:
    from services.oidc.flows.clients import verify_secret

    client_id = make(program, auth_method="none")["client"]["client_id"]
    path, whole = f"/clients/{client_id}", {"name": "Billing", "redirect_uris": [URI]}

    def change(auth_method: str) -> dict[str, Any]:
        body = {**whole, "auth_method": auth_method}
        answer = program(method, path, json=body, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        found: dict[str, Any] = answer.json
        return found

    secret = change("client_secret_basic")["client_secret"]
    with app.app_context():
        assert verify_secret(client_id, secret=secret)
    assert secret not in program.get(path).text
    for auth_method in ("client_secret_basic", "client_secret_post", "none"):
        assert "client_secret" not in change(auth_method), auth_method


def test_a_change_says_what_it_changes_and_one_of_two_wins(program: Program) -> None:
    path = f"/clients/{make(program)['client']['client_id']}"
    assert program("PATCH", path, json={"name": "Invoices"}).status_code == 428
    tag = program.get(path).headers["ETag"]
    barrier = Barrier(5)

    def rename(number: int) -> int:
        barrier.wait()
        return program("PATCH", path, json={"name": f"Name {number}"}, headers={"If-Match": tag}).status_code

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(rename, range(5))) == [200, 412, 412, 412, 412]
    now = program.get(path)
    assert now.json["redirect_uris"] == [URI], "what is not named stays"
    assert program.get(path, headers={"If-None-Match": now.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("tag", ['""', '"", "odd", ""', '"-1"', '"99999999999999999999"', "odd", '"\u0663"'])
def test_a_tag_of_no_version_changes_nothing(program: Program, tag: str) -> None:
    path = f"/clients/{make(program)['client']['client_id']}"
    assert program("PATCH", path, json={"name": "Mine"}, headers={"If-Match": tag}).status_code == 412


def test_put_replaces_the_whole(program: Program) -> None:
    made = make(
        program, logo_uri="https://billing.test/logo.png", is_first_party=True, contacts=["a@billing.test"]
    )
    path = f"/clients/{made['client']['client_id']}"
    body = {"name": "Billing", "redirect_uris": [URI], "default_max_age": 300}
    answer = program("PUT", path, json=body, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    assert answer.json["logo_uri"] is None
    assert answer.json["is_first_party"] is False
    assert answer.json["contacts"] == []
    assert answer.json["default_max_age"] == 300
    cleared = program("PATCH", path, json={"default_max_age": None}, headers={"If-Match": "*"})
    assert cleared.json["default_max_age"] is None


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"redirect_uris": ["javascript:alert(1)"]}, 400, "redirect_uris"),
        ({"scopes": ["root"]}, 400, "scopes"),
        ({"grants": ["password"]}, 422, "grants.0"),
        ({"auth_method": "client_secret_jwt"}, 422, "auth_method"),
        ({"require_pkce": "no"}, 422, "require_pkce"),
        ({"default_max_age": "300"}, 422, "default_max_age"),
        ({"name": None}, 422, "name"),
        ({"jwks": {"keys": []}}, 400, "jwks"),
        ({"client_id": "mine"}, 422, "client_id"),
        ({"client_secret": "mine"}, 422, "client_secret"),
        ({"version": 7}, 422, "version"),
        ({"registration_token_digest": "x"}, 422, "registration_token_digest"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_at_its_field(
    program: Program, wrong: dict[str, Any], status: int, field: str
) -> None:
    path = f"/clients/{make(program)['client']['client_id']}"
    answer = program("PATCH", path, json=wrong, headers={"If-Match": "*"})
    assert answer.status_code == status, answer.text
    assert field in answer.json["errors"]
    assert (
        program("POST", "/clients", json={"name": "B", "redirect_uris": [URI], **wrong}).status_code == status
    )


def test_disabling_and_deleting_stop_the_client(
    app: Flask, browser: Browser, person: Session, program: Program
) -> None:
    made = make(program)
    path = f"/clients/{made['client']['client_id']}"
    party = RelyingParty(
        app=app, client_id=made["client"]["client_id"], secret=made["client_secret"], redirect_uri=URI
    )
    tokens = party.tokens(browser, scope="openid")
    assert program("POST", f"{path}/disable").json["is_enabled"] is False
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert program("POST", f"{path}/enable").json["is_enabled"] is True
    assert party.userinfo(tokens["access_token"]).status_code == 401, "what has ended does not come back"
    tokens = party.tokens(browser, scope="openid")
    assert party.userinfo(tokens["access_token"]).status_code == 200
    assert program("DELETE", path).status_code == 204
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert program("DELETE", path).status_code == 404


def test_clients_are_found_by_name_host_id_and_state(program: Program) -> None:
    word = uuid.uuid4().hex
    first = make(program, name=f"Kit {word}")["client"]["client_id"]
    second = make(program, redirect_uris=[f"https://{word}.test/cb?x=%"], auth_method="none")["client"][
        "client_id"
    ]

    def found(**query: str) -> list[str]:
        return [item["client_id"] for item in program.get("/clients", query_string=query).json["items"]]

    assert found(search=word.upper()) == [second, first]
    assert found(search=first) == [first]
    assert found(search=word, state="public") == [second]
    program("POST", f"/clients/{first}/disable")
    assert found(search=word, state="enabled") == [second]
    assert found(search=word, state="disabled") == [first]
    assert found(search=word, state="dynamic") == []
    assert found(search=f"{word}%") == []
    assert found(search="\x00") != []


def test_pages_stay_what_they_are_while_apps_are_registered(program: Program) -> None:
    word = uuid.uuid4().hex
    made = [make(program, name=f"Early {word}")["client"]["client_id"] for _ in range(5)]
    seen: list[str] = []
    query = {"search": word, "limit": "2"}
    while True:
        page = program.get("/clients", query_string=query).json
        seen += [item["client_id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
        make(program, name=f"Late {word}")
    assert seen == list(reversed(made))
    assert program.get("/clients", query_string={"cursor": "nonsense"}).status_code == 422


def test_the_audit_says_who_did_it(app: Flask, program: Program) -> None:
    from services.oidc.extensions import audit

    client_id = make(program)["client"]["client_id"]
    machine = bearing(app, is_person=False)
    changes = {"name": "Invoices", "id_token_signed_response_alg": "ES256", "access_token_format": "opaque"}
    machine("PATCH", f"/clients/{client_id}", json=changes, headers={"If-Match": "*"})
    with app.app_context():
        updated, created = audit.entries(target=f"client:{client_id}")
    assert (created.action, updated.action) == ("client.created", "client.updated")
    assert created.actor.startswith("user:")
    assert updated.actor == "client:a-program"
    assert updated.after == changes, "no setting looks like a secret to the audit"


@pytest.mark.parametrize(
    "client_id", ["nobody", "%00", "a%20b", "%ff%fe", "..", "%2e%2e", "x" * 3000, "%F0%9F%92%A5", "';--"]
)
def test_an_id_of_nobody_is_not_found(program: Program, client_id: str) -> None:
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/disable"), ("GET", "/secrets")):
        answer = program(method, f"/clients/{client_id}{rest}")
        assert answer.status_code == 404, (method, rest)
        assert answer.mimetype == "application/problem+json"
