"""/api/v1/me/data, erasure: a person takes their data along or leaves, through an app of theirs."""

import time
from collections.abc import Callable

from flask import Flask

from libs.messaging.events import DataRequested
from tests.account.conftest import Person, execute, is_signed_in, mails_to, side_by_side, sign_in
from tests.account.programs import Program
from tests.account.test_data_download import answer, download, links, requests
from tests.conftest import recorded
from tests.pages import Browser, token_of

Programs = Callable[..., Program]


def test_data_is_asked_for_and_its_state_seen_until_the_mail_has_left(
    app: Flask, browser: Browser, person: Person, program_of: Programs
) -> None:
    program = program_of(person)
    nothing = {"state": "none", "created_at": None, "mailed_at": None, "expires_at": None}
    assert program.get("/me/data").json == nothing
    asked = program("POST", "/me/data")
    assert (asked.status_code, asked.json["state"]) == (202, "collecting")
    assert program.get("/me/data").json == asked.json
    again = program("POST", "/me/data")
    assert (again.status_code, again.json["type"]) == (409, "urn:updspace-id:problem:request-under-way")
    [request] = requests(app, person)
    answer(app, request)
    assert program.get("/me/data").json["state"] == "mailed"
    # The data itself comes by the mailed link, in a browser where its owner has just signed in.
    [path] = links(app, person)
    assert download(sign_in(browser, person), path)["sub"] == person.sub


def test_data_asked_for_side_by_side_is_collected_once(
    app: Flask, person: Person, program_of: Programs
) -> None:
    program = program_of(person)
    statuses = side_by_side(*[lambda: program("POST", "/me/data").status_code] * 4)
    assert sorted(statuses) == [202, 409, 409, 409]
    assert len([event for event in recorded(app, DataRequested) if event.sub == person.sub]) == 1


def test_a_person_leaves_and_thinks_better_of_it(app: Flask, person: Person, program_of: Programs) -> None:
    browser, program = sign_in(Browser(app), person), program_of(person, iat=int(time.time()))
    assert program.get("/me/erasure").json == {"erase_at": None}
    slip = program("POST", "/me/erasure", json={"email": "somebody@else.test"})
    assert (slip.status_code, set(slip.json["errors"])) == (422, {"email"})
    assert program("POST", "/me/erasure").status_code == 422
    asked = program("POST", "/me/erasure", json={"email": person.email})
    assert asked.status_code == 200
    assert not is_signed_in(browser)
    assert program.get("/me").status_code == 401, "the token that asked is dead too"
    back = program_of(person, iat=int(time.time()) + 2)
    assert back.get("/me/erasure").json == asked.json
    assert [back("DELETE", "/me/erasure").status_code for _ in range(2)] == [204, 204]
    assert back.get("/me/erasure").json == {"erase_at": None}
    assert [mail.template for mail in mails_to(app, person.email)] == ["erasure_scheduled", "account_kept"]


def test_the_last_administrator_stays(
    app: Flask, make_person: Callable[..., Person], program_of: Programs
) -> None:
    boss = make_person(roles=["admin"])
    program = program_of(boss)
    others = "UPDATE users SET status = :status WHERE 'admin' = ANY(roles) AND sub <> :sub"
    execute(app, others, status="disabled", sub=boss.sub)
    refused = program("POST", "/me/erasure", json={"email": boss.email})
    execute(app, others, status="active", sub=boss.sub)
    assert (refused.status_code, refused.json["type"]) == (409, "urn:updspace-id:problem:last-administrator")
    assert program.get("/me/erasure").json == {"erase_at": None}


def test_page_and_app_share_how_often_one_may_ask(
    app: Flask, browser: Browser, person: Person, program_of: Programs
) -> None:
    program = program_of(person)
    statuses = [program("POST", "/me/data").status_code for _ in range(11)]
    assert statuses == [202, *[409] * 9, 429]
    sign_in(browser, person).get("/account/sessions")
    assert browser.post("/account/data", {"csrf_token": token_of(browser)}).status_code == 429
