"""Reviewing by API: the queue in pages, claims, questions, notes, decisions about one and about several."""

import threading
import uuid
from typing import Any

import pytest
from flask import Flask

from tests.account.programs import Program
from tests.onboarding import steps
from tests.onboarding.programs import Programs

PATH = "/applications"


@pytest.fixture
def program(programs: Programs) -> Program:
    return programs.of_person("reviewer")


def confirmed(app: Flask, **fields: str) -> str:
    """The path of an application whose address is proven."""
    email = steps.apply(app, **fields)
    steps.confirm(app, email)
    return f"{PATH}/{steps.facts(app, email)['id']}"


def slug(answer: Any) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_an_application_is_shown_whole_and_its_tag_changes_with_it(
    onboarding_app: Flask, program: Program
) -> None:
    path = confirmed(onboarding_app)
    shown = program.get(path)
    assert shown.status_code == 200
    assert (shown.json["state"], shown.json["why"], shown.json["answers"]) == ("confirmed", steps.WHY, {})
    assert shown.json["confirmed_at"] is not None
    tag = shown.headers["ETag"]
    assert program.get(path, headers={"If-None-Match": tag}).status_code == 304
    claimed = program("POST", f"{path}/claim")
    assert (claimed.status_code, claimed.json["state"]) == (200, "in_review")
    again = program.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"]) == (200, claimed.headers["ETag"])


def test_the_queue_is_filtered_searched_and_comes_in_pages(onboarding_app: Flask, program: Program) -> None:
    mark = uuid.uuid4().hex[:10]
    ids = [confirmed(onboarding_app, name=f"Ada {mark}").rpartition("/")[2] for _ in range(3)]
    program("POST", f"{PATH}/{ids[0]}/approve")

    def listed(**query: Any) -> list[str]:
        seen, cursor = [], None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = program.get(PATH, query_string={"search": mark, "limit": 1, **query, **more})
            assert page.status_code == 200, page.text
            seen += [row["id"] for row in page.json["items"]]
            if (cursor := page.json["next"]) is None:
                return seen

    assert listed() == ids[1:]
    assert listed(state="all") == ids
    assert listed(state="all", order="newest") == ids[::-1]
    assert listed(state="approved") == ids[:1]
    program("POST", f"{PATH}/{ids[1]}/claim")
    assert listed(state="mine") == [ids[1]]
    assert listed(state="unclaimed") == [ids[2]]
    for query in ({"state": "odd"}, {"order": "odd"}, {"cursor": "odd"}, {"limit": 0}, {"odd": 1}):
        assert program.get(PATH, query_string=query).status_code == 422, query


def test_a_claim_is_one_programs_until_it_is_given_back_or_taken_over(
    onboarding_app: Flask, program: Program, programs: Programs
) -> None:
    path, other = confirmed(onboarding_app), programs.of_person("reviewer")
    holder = program("POST", f"{path}/claim").json["claimed_by"]
    for _ in range(2):
        refused = other("POST", f"{path}/claim")
        assert (refused.status_code, slug(refused)) == (409, "claimed-by-another")
    assert slug(other("POST", f"{path}/approve")) == "claimed-by-another"
    assert slug(other("POST", f"{path}/release")) == "not-yours"
    taken = other("POST", f"{path}/claim", json={"instead_of": holder})
    assert (taken.status_code, taken.json["claimed_by"] == holder) == (200, False)
    assert other("POST", f"{path}/release").json["state"] == "confirmed"


def test_a_question_and_a_note_are_kept_once_and_the_applicant_is_mailed_the_question(
    onboarding_app: Flask, program: Program
) -> None:
    path = confirmed(onboarding_app)
    email = program.get(path).json["email"]
    key = {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(2):
        asked = program("POST", f"{path}/questions", json={"text": "How big?"}, headers=key)
        assert (asked.status_code, asked.json["text"]) == (201, "How big?")
        noted = program("POST", f"{path}/notes", json={"text": "nice boats"}, headers=key)
        assert (noted.status_code, noted.json["text"]) == (201, "nice boats")
    assert slug(program("POST", f"{path}/questions", json={"text": "And?"})) == "already-asked"
    assert [row["text"] for row in program.get(f"{path}/questions").json["items"]] == ["How big?"]
    assert [row["text"] for row in program.get(f"{path}/notes").json["items"]] == ["nice boats"]
    [mail] = steps.mails(onboarding_app, email, "application_question")
    assert mail.context["question"] == "How big?"
    told = program.get(f"{path}/history").json
    assert {"application.question_asked", "application.note_written"} <= {
        entry["action"] for entry in told["entries"]
    }
    assert isinstance(told["signs"], list)
    for body in (
        {},
        {"text": ""},
        {"text": " \n "},
        {"text": 5},
        {"text": "x" * 2001},
        {"text": "a", "b": 1},
    ):
        assert program("POST", f"{path}/notes", json=body).status_code == 422, body


def test_a_no_carries_its_reason_as_far_as_it_is_shown_and_is_taken_back(
    onboarding_app: Flask, program: Program
) -> None:
    path = confirmed(onboarding_app)
    email = program.get(path).json["email"]
    body = {"reason": "only for staff", "reason_is_shown": False}
    for _ in range(2):
        said = program("POST", f"{path}/reject", json=body)
        assert (said.status_code, said.json["state"], said.json["reason"]) == (
            200,
            "rejected",
            "only for staff",
        )
    [mail] = steps.mails(onboarding_app, email, "application_rejected")
    assert mail.context["reason"] is None
    back = program("POST", f"{path}/take-back")
    assert (back.json["state"], back.json["decided_by"], back.json["reason"]) == ("in_review", None, None)
    assert program("POST", f"{path}/approve").json["state"] == "approved"
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1


def test_of_ten_programs_that_decide_at_once_one_wins_and_the_others_are_told(
    onboarding_app: Flask, programs: Programs
) -> None:
    path = confirmed(onboarding_app)
    several = [programs.of_person("reviewer") for _ in range(10)]
    barrier, answers = threading.Barrier(10), []

    def go(number: int) -> None:
        barrier.wait()
        answers.append(several[number]("POST", f"{path}/{('approve', 'reject')[number % 2]}"))

    threads = [threading.Thread(target=go, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert {slug(answer) for answer in answers if answer.status_code == 409} == {"already-decided"}


def test_several_are_decided_each_by_itself(
    onboarding_app: Flask, program: Program, programs: Programs
) -> None:
    paths = [confirmed(onboarding_app) for _ in range(3)]
    ids = [path.rpartition("/")[2] for path in paths]
    programs.of_person("reviewer")("POST", f"{paths[1]}/claim")
    nobody = str(uuid.uuid4())
    done = program("POST", f"{PATH}/decisions", json={"decision": "approve", "ids": [*ids, nobody]})
    assert done.status_code == 200
    assert [row["id"] for row in done.json["items"]] == [*ids, nobody]
    assert [row["why_not"] is None for row in done.json["items"]] == [True, False, True, False]
    assert program.get(paths[0]).json["state"] == "approved"
    assert program.get(paths[1]).json["state"] == "in_review"
    for body in (
        {"decision": "approve", "ids": []},
        {"decision": "shrug", "ids": ids},
        {"decision": "approve", "ids": ["x"]},
        {"decision": "approve", "ids": ids, "reason": "why not"},
        {"decision": "reject", "ids": [nobody] * 201},
    ):
        assert program("POST", f"{PATH}/decisions", json=body).status_code == 422, body


def test_a_client_by_itself_decides_under_its_own_name(onboarding_app: Flask, programs: Programs) -> None:
    path = confirmed(onboarding_app)
    assert programs.of_client()("POST", f"{path}/approve").json["decided_by"] == "client:a-program"


def test_what_is_posted_sets_no_state(onboarding_app: Flask, program: Program) -> None:
    path = confirmed(onboarding_app)
    for body in ({"state": "approved"}, {"roles": ["admin"]}, {"claimed_by": "user:x"}):
        assert program("POST", f"{path}/claim", json=body).status_code == 422
        assert program("POST", f"{path}/reject", json=body).status_code == 422
    assert program.get(path).json["state"] == "confirmed"
