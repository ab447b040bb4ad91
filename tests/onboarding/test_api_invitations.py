"""Invitations by API: made and shown once, repeated without harm, listed, sent again, withdrawn."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.onboarding.tasks import clear_idempotency_keys
from tests.account.programs import Program
from tests.onboarding import steps
from tests.onboarding.programs import Programs
from tests.pages import Browser

PATH = "/invitations"


@pytest.fixture
def program(programs: Programs) -> Program:
    return programs.of_person("reviewer")


def post(program: Program, body: dict[str, object], key: str | None = None):  # type: ignore[no-untyped-def]
    return program("POST", PATH, json=body, headers={"Idempotency-Key": key} if key else {})


def kept(app: Flask) -> list[sa.Row]:  # type: ignore[type-arg]
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT * FROM idempotency_keys")))


def test_a_link_is_made_shown_in_the_answer_and_nowhere_else(onboarding_app: Flask, program: Program) -> None:
    made = post(program, {"most_uses": 3, "note": "boat club", "lifetime_seconds": 3600})
    assert made.status_code == 201
    invitation = made.json["invitation"]
    assert made.headers["Location"] == f"/api/v1{PATH}/{invitation['id']}"
    assert made.headers["Cache-Control"] == "no-store"
    assert (invitation["state"], invitation["email"], invitation["most_uses"]) == ("open", None, 3)
    assert Browser(onboarding_app).get(steps.path_of(made.json["link"])).status_code == 200
    shown = program.get(f"{PATH}/{invitation['id']}")
    assert shown.json == invitation
    assert shown.headers["ETag"] == made.headers["ETag"]
    again = program.get(f"{PATH}/{invitation['id']}", headers={"If-None-Match": shown.headers["ETag"]})
    assert again.status_code == 304


def test_the_link_of_a_mailed_one_is_in_its_mail_alone(onboarding_app: Flask, program: Program) -> None:
    email = steps.new_email()
    made = post(program, {"email": email, "locale": "ru"})
    assert (made.status_code, made.json["link"]) == (201, None)
    [mail] = steps.mails(onboarding_app, email, "invitation")
    assert (mail.locale, mail.context["inviter"]) == ("ru", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a@people.test", "most_uses": 2}, "uses"),
        ({"most_uses": 0}, "most_uses"),
        ({"most_uses": "2"}, "most_uses"),
        ({"lifetime_seconds": 10**9}, "lifetime_seconds"),
        ({"roles": ["king"]}, "roles.0"),
        ({"locale": "xx"}, "locale"),
        ({"note": "x" * 501}, "note"),
        ({"state": "used"}, "state"),
        ({"token_digest": "x"}, "token_digest"),
    ],
)
def test_what_cannot_be_is_said_by_field(program: Program, body: dict[str, object], field: str) -> None:
    answer = post(program, body)
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert field in answer.json["errors"]


def test_roles_are_given_by_administrators_with_a_fresh_sign_in_alone(programs: Programs) -> None:
    body = {"most_uses": 1, "roles": ["support"]}
    assert post(programs.of_person("reviewer"), body).status_code == 403
    old = programs.of_person("admin", auth_time=int(time.time()) - 600)
    stale = post(old, body)
    assert (stale.status_code, 'max_age="300"' in stale.headers["WWW-Authenticate"]) == (401, True)
    assert post(programs.of_client(), body).status_code == 403
    assert post(programs.of_client(scope="applications:write users:write"), body).status_code == 201
    made = post(programs.of_person("admin"), body)
    assert (made.status_code, made.json["invitation"]["roles"]) == (201, ["support"])
    path = f"{PATH}/{made.json['invitation']['id']}/resend"
    for other, status in ((programs.of_person("reviewer"), 403), (old, 401), (programs.of_client(), 403)):
        assert other("POST", path).status_code == status
    assert programs.of_person("admin")("POST", path).status_code == 200


def test_sent_again_it_has_another_link_and_withdrawn_it_has_none(
    onboarding_app: Flask, program: Program
) -> None:
    made = post(program, {}).json
    path = f"{PATH}/{made['invitation']['id']}"
    sent = program("POST", f"{path}/resend", json={"lifetime_seconds": 60})
    assert sent.status_code == 200
    assert Browser(onboarding_app).get(steps.path_of(made["link"])).status_code == 410
    assert Browser(onboarding_app).get(steps.path_of(sent.json["link"])).status_code == 200
    for _ in range(2):
        assert program("POST", f"{path}/withdraw").json["state"] == "withdrawn"
    over = program("POST", f"{path}/resend")
    assert (over.status_code, over.json["type"]) == (409, "urn:updspace-id:problem:invitation-over")
    assert Browser(onboarding_app).get(steps.path_of(sent.json["link"])).status_code == 410


def test_the_list_is_filtered_and_comes_in_pages(program: Program) -> None:
    mark = uuid.uuid4().hex
    ids = [post(program, {"note": f"{mark} {n}"}).json["invitation"]["id"] for n in range(3)]
    seen, cursor = [], None
    while True:
        query = {"search": mark, "state": "open", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = program.get(PATH, query_string=query)
        seen += [row["id"] for row in page.json["items"]]
        cursor = page.json["next"]
        assert ("Link" in page.headers) == (cursor is not None)
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert program.get(PATH, query_string={"state": "odd"}).status_code == 422
    assert program.get(f"{PATH}/{uuid.uuid4()}").status_code == 404


# -- sent again with one key ------------------------------------------------------------------------------------


def test_a_repeated_request_is_answered_as_before_without_the_link(
    onboarding_app: Flask, program: Program
) -> None:
    key, body = str(uuid.uuid4()), {"note": uuid.uuid4().hex}
    first, second = post(program, body, key), post(program, body, f'"{key}"')
    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json == {**first.json, "link": None}
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["ETag"] == first.headers["ETag"]
    assert len(program.get(PATH, query_string={"search": body["note"]}).json["items"]) == 1
    token = first.json["link"].partition("=")[2]
    assert all(token not in str(row) and key not in str(row) for row in kept(onboarding_app))


def test_one_key_for_two_requests_is_a_mistake_and_two_callers_never_meet(
    program: Program, programs: Programs
) -> None:
    key, body = str(uuid.uuid4()), {"note": "one"}
    made = post(program, body, key).json["invitation"]["id"]
    answer = post(program, {"note": "two"}, key)
    assert (answer.status_code, answer.json["type"].rpartition(":")[2]) == (422, "idempotency-key-reused")
    for other in (programs.of_person("reviewer"), programs.of_client()):
        theirs = post(other, body, key)
        assert (theirs.status_code, "Idempotent-Replayed" in theirs.headers) == (201, False)
        assert theirs.json["invitation"]["id"] != made


@pytest.mark.parametrize("key", ["", '""', " ", "x" * 256, "ключ".encode().decode("latin-1"), 'a"b', "a\tb"])
def test_what_is_no_key_is_refused(program: Program, key: str) -> None:
    answer = program("POST", PATH, json={}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["type"].rpartition(":")[2]) == (400, "bad-idempotency-key")


def test_what_was_refused_may_be_tried_again_under_its_key(program: Program) -> None:
    key = str(uuid.uuid4())
    assert post(program, {"email": "nobody"}, key).status_code == 422
    assert post(program, {"note": "right now"}, key).status_code == 201


def test_ten_at_once_under_one_key_make_one(program: Program) -> None:
    key, body = str(uuid.uuid4()), {"note": uuid.uuid4().hex}
    barrier, answers = threading.Barrier(10), []

    def go() -> None:
        barrier.wait()
        answers.append(post(program, body, key))

    threads = [threading.Thread(target=go) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(made) + len(waiting) == 10
    assert len({answer.json["invitation"]["id"] for answer in made}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in made) == 1
    assert all(answer.headers["Retry-After"] == "1" for answer in waiting)
    assert len(program.get(PATH, query_string={"search": body["note"]}).json["items"]) == 1
    assert post(program, body, key).headers["Idempotent-Replayed"] == "true"


def test_while_the_first_request_is_under_way_the_second_is_told_and_a_crash_leaves_neither(
    onboarding_app: Flask, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, body = str(uuid.uuid4()), {"note": uuid.uuid4().hex}
    started, go_on = threading.Event(), threading.Event()
    first = []

    def slow_and_cut_off(*_: object, **__: object) -> str:
        started.set()
        assert go_on.wait(10)
        # As when the server ends: the connection goes, and all that it held with it.
        db = parts_of(onboarding_app).db
        pid = db.session.scalar(sa.text("SELECT pg_backend_pid()"))
        with db.engine.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        return "x"

    with monkeypatch.context() as patch:
        patch.setattr("libs.web.idempotency._without", slow_and_cut_off)
        thread = threading.Thread(target=lambda: first.append(post(program, body, key)))
        thread.start()
        assert started.wait(10)
        second = post(program, body, key)
        go_on.set()
        thread.join()
    assert (second.status_code, second.json["type"].rpartition(":")[2]) == (409, "request-under-way")
    assert first[0].status_code == 503
    assert program.get(PATH, query_string={"search": body["note"]}).json["items"] == []
    assert post(program, body, key).status_code == 201


def test_a_key_is_known_for_a_day_and_then_forgotten(onboarding_app: Flask, program: Program) -> None:
    key, body = str(uuid.uuid4()), {"note": uuid.uuid4().hex}
    first = post(program, body, key)

    def age(by: timedelta) -> None:
        with onboarding_app.app_context(), parts_of(onboarding_app).db.engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE idempotency_keys SET created_at = :then"), {"then": utcnow() - by}
            )

    def clear() -> None:
        with onboarding_app.app_context():
            clear_idempotency_keys()

    age(timedelta(hours=23))
    clear()
    assert post(program, body, key).json["invitation"]["id"] == first.json["invitation"]["id"]
    age(timedelta(hours=25))
    anew = post(program, body, key)
    assert anew.json["invitation"]["id"] != first.json["invitation"]["id"]
    age(timedelta(hours=25))
    clear()
    assert kept(onboarding_app) == []


def test_a_program_mails_no_more_strangers_in_an_hour_than_its_person_could_on_the_page(
    programs: Programs,
) -> None:
    program = programs.of_person("reviewer")
    answers = [program("POST", "/invitations", json={"note": "x"}).status_code for _ in range(121)]
    assert answers == [201] * 120 + [429]
