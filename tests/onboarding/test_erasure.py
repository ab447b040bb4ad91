"""Somebody is gone: their applications stay as numbers, and before that the person is told what they were."""

import json
import threading
import uuid
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.events import AccountOpened, DataRequested, OnboardingDataCollected, UserErased
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.models import Invitation
from tests.conftest import receive, recorded, run_command
from tests.onboarding import steps
from tests.onboarding.test_api_own import Anybody
from tests.pages import Browser


def rows(app: Flask, text: str, **values: Any) -> list[Any]:
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return list(connection.execute(sa.text(text), values))


def run(app: Flask, text: str, **values: Any) -> None:
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        connection.execute(sa.text(text), values)


def erase(app: Flask, sub: str, *emails: str) -> None:
    assert receive(app, UserErased(sub=sub, emails=list(emails)), "account") == "handled"


def activated(app: Flask, **fields: str) -> tuple[str, str]:
    """The address and the sub of somebody who joined."""
    email, sub = steps.approved(app, **fields), str(uuid.uuid4())
    assert steps.open_account(app, email, sub=sub) == "handled"
    return email, sub


def test_what_is_left_of_an_application_is_that_there_was_one(onboarding_app: Flask) -> None:
    email, sub = activated(onboarding_app, name="Ada Byron King")
    id_ = steps.facts(onboarding_app, email)["id"]
    erase(onboarding_app, sub)
    [row] = rows(
        onboarding_app,
        "SELECT email, email_folded, name, why, sub, reason, continue_to, state, submitted_at, decided_at"
        " FROM applications WHERE id = :id",
        id=id_,
    )
    assert row[:8] == ("", "", "", "", None, None, None, "activated")
    assert row.submitted_at is not None
    assert row.decided_at is not None
    assert rows(onboarding_app, "SELECT 1 FROM links WHERE application_id = :id", id=id_) == []
    assert "Nobody applied" in run_command(onboarding_app, "applications", "show", email).output
    page = steps.reviewer(onboarding_app).get(f"/admin/applications/{id_}").text
    assert "Somebody who has left" in page
    assert "Ada Byron King" not in page


def test_a_rejection_loses_its_words_in_the_audit_too(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    browser = steps.reviewer(onboarding_app)
    id_ = steps.facts(onboarding_app, email)["id"]
    browser.fill(f"/admin/applications/{id_}", button="reject", reason="Too fond of engines.", follow=True)
    erase(onboarding_app, str(uuid.uuid4()), email)
    assert rows(onboarding_app, "SELECT state, reason FROM applications WHERE id = :id", id=id_) == [
        ("rejected", None)
    ]
    audit = run_command(onboarding_app, "audit", "list", "--target", f"application:{id_}", "--json").output
    assert "application.rejected" in audit
    assert "engines" not in audit


def test_an_open_application_goes_with_the_person(onboarding_app: Flask) -> None:
    email, sub = activated(onboarding_app)
    steps.apply(onboarding_app, email)
    erase(onboarding_app, sub, email.upper())
    assert rows(onboarding_app, "SELECT 1 FROM applications WHERE email_folded = :e", e=email.lower()) == []
    # The address is free: whoever joins again is somebody new.
    steps.apply(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_an_address_that_somebody_else_uses_since_is_theirs(onboarding_app: Flask) -> None:
    """Whoever changed their address neither sees nor takes away what its next owner sent from it."""
    _, sub = activated(onboarding_app)
    old, until = steps.apply(onboarding_app), "2020-01-31T12:00:00+00:00"
    request_id = str(uuid.uuid4())
    asked = DataRequested(request_id=request_id, sub=sub, emails=[old], left={old: until})
    assert receive(onboarding_app, asked, "account") == "handled"
    [answer] = [e for e in recorded(onboarding_app, OnboardingDataCollected) if e.request_id == request_id]
    assert [one["email"] == old for one in answer.content["applications"]] == [False]
    gone = UserErased(sub=sub, emails=[old], left={old: until})
    assert receive(onboarding_app, gone, "account") == "handled"
    assert steps.facts(onboarding_app, old)["state"] == "submitted"


def test_what_became_another_account_is_another_persons(onboarding_app: Flask) -> None:
    (email, _), (_, sub) = activated(onboarding_app), activated(onboarding_app)
    erase(onboarding_app, sub, email)
    assert steps.facts(onboarding_app, email)["state"] == "activated"


def test_other_people_stay(onboarding_app: Flask) -> None:
    _, sub = activated(onboarding_app)
    other, _ = activated(onboarding_app)
    erase(onboarding_app, sub)
    assert steps.facts(onboarding_app, other)["state"] == "activated"


def test_events_in_any_order_bring_nobody_back(onboarding_app: Flask) -> None:
    email, sub = steps.approved(onboarding_app), str(uuid.uuid4())
    id_ = steps.facts(onboarding_app, email)["id"]
    erase(onboarding_app, sub, email)

    late = AccountOpened(sub=sub, application_id=id_)
    assert receive(onboarding_app, late, "account") == "handled", "it does not trouble staff"
    assert steps.tell_of_person(onboarding_app, sub, name="Ada", version=9) == "handled"
    erase(onboarding_app, sub, email)
    assert rows(onboarding_app, "SELECT name, roles, status FROM people WHERE sub = :sub", sub=sub) == [
        ("", [], "erased")
    ]


def test_what_hangs_on_an_application_goes_with_its_person(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.ask(onboarding_app, email, "Which boats?")
    id_ = steps.facts(onboarding_app, email)["id"]
    Browser(onboarding_app).fill(
        steps.status_page(onboarding_app, email), button="answer", text="Small ones."
    )
    run(onboarding_app, "INSERT INTO notes VALUES (gen_random_uuid(), :id, now(), 'user:x', 'Kind.')", id=id_)
    run(
        onboarding_app,
        "UPDATE applications SET answers = '{\"city\": \"Omsk\"}', network = '192.0.2.0/24' WHERE id = :id",
        id=id_,
    )
    page = steps.status_page(onboarding_app, email)
    sub = str(uuid.uuid4())
    run_command(onboarding_app, "applications", "approve", email)
    assert steps.open_account(onboarding_app, email, sub=sub) == "handled"
    request_id = str(uuid.uuid4())
    asked = DataRequested(request_id=request_id, sub=sub, emails=[email])
    assert receive(onboarding_app, asked, "account") == "handled"
    [answer] = [e for e in recorded(onboarding_app, OnboardingDataCollected) if e.request_id == request_id]
    [application] = answer.content["applications"]
    assert application["answers"] == {"city": "Omsk"}
    assert application["network"] == "192.0.2.0/24"
    [question] = application["questions"]
    assert (question["question"], question["answer"]) == ("Which boats?", "Small ones.")
    assert [note["text"] for note in application["notes"]] == ["Kind."]
    assert "user:" not in json.dumps(answer.content), "who wrote it is about others"

    erase(onboarding_app, sub, email)
    for table in ("notes", "questions"):
        query = f"SELECT 1 FROM {table} WHERE application_id = :id"
        assert rows(onboarding_app, query, id=id_) == []
    [row] = rows(
        onboarding_app, "SELECT answers, network, terms_version FROM applications WHERE id = :id", id=id_
    )
    assert tuple(row) == ({}, None, None)
    assert Browser(onboarding_app).get(page).status_code == 410, "their page is gone"


def test_an_invitation_to_somebody_who_is_gone_opens_nothing(onboarding_app: Flask) -> None:
    email, sub = steps.new_email(), str(uuid.uuid4())
    id_ = str(uuid.uuid4())
    invitation = Invitation(
        id=uuid.UUID(id_),
        email=email,
        email_folded=email.lower(),
        token_digest=id_,
        created_by="user:x",
        note="Met at the fair.",
        expires_at=utcnow(),
    )
    with onboarding_app.app_context(), db.transaction() as session:
        session.add(invitation)
    request_id = str(uuid.uuid4())
    receive(onboarding_app, DataRequested(request_id=request_id, sub=sub, emails=[email]), "account")
    [answer] = [e for e in recorded(onboarding_app, OnboardingDataCollected) if e.request_id == request_id]
    assert [one["note"] for one in answer.content["invitations"]] == ["Met at the fair."]
    erase(onboarding_app, sub, email)
    [row] = rows(
        onboarding_app, "SELECT email, note, withdrawn_at IS NULL FROM invitations WHERE id = :id", id=id_
    )
    assert tuple(row) == ("", "", False)


def test_a_reviewer_who_has_left_is_not_named_any_more(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app, name="Rita Gone")
    steps.approve(onboarding_app, email, browser)
    sub = steps.facts(onboarding_app, email)["decided_by"]
    assert sub == "Rita Gone"
    [(actor,)] = rows(onboarding_app, "SELECT decided_by FROM applications WHERE email = :e", e=email)
    erase(onboarding_app, actor.removeprefix("user:"))
    assert steps.facts(onboarding_app, email)["decided_by"] == actor


def test_a_person_is_told_everything_about_their_applications_but_who_reviewed_them(
    onboarding_app: Flask,
) -> None:
    email, sub = activated(onboarding_app, name="Ada Byron")
    other, _ = activated(onboarding_app, name="Somebody Else")
    request_id = str(uuid.uuid4())
    asked = DataRequested(request_id=request_id, sub=sub, emails=[email])
    assert receive(onboarding_app, asked, "account") == "handled"
    [answer] = [e for e in recorded(onboarding_app, OnboardingDataCollected) if e.request_id == request_id]
    [application] = answer.content["applications"]
    assert (application["email"], application["name"], application["state"]) == (
        email,
        "Ada Byron",
        "activated",
    )
    assert application["why"] == steps.WHY
    assert [entry["action"] for entry in application["history"]] == [
        "application.submitted",
        "application.address_confirmed",
        "application.approved",
        "application.activated",
    ]
    assert {link["purpose"] for link in application["links"]} == {"confirm_address", "activate"}
    text = json.dumps(answer.content)
    assert "Rita" not in text
    assert "Somebody Else" not in text
    assert other not in text
    digests = rows(onboarding_app, "SELECT token_digest FROM links")
    assert not [digest for (digest,) in digests if digest in text]


def test_whoever_did_not_apply_has_nothing_here(onboarding_app: Flask) -> None:
    request_id = str(uuid.uuid4())
    receive(onboarding_app, DataRequested(request_id=request_id, sub=request_id, emails=[]), "account")
    [answer] = [e for e in recorded(onboarding_app, OnboardingDataCollected) if e.request_id == request_id]
    assert answer.content == {
        "person": None,
        "applications": [],
        "invitations": [],
        "mails_about_reviews": None,
    }


def test_whoever_acts_while_the_person_is_erased_is_told_that_nothing_is_there(onboarding_app: Flask) -> None:
    """The row goes between the look at the application and the act."""
    app = onboarding_app
    outcomes = {}
    for kind in ("page", "program", "reviewer"):
        email = steps.apply(app)
        steps.confirm(app, email)
        application_id = steps.facts(app, email)["id"]
        token = steps.status_token(app, application_id)
        browser = steps.reviewer(app) if kind == "reviewer" else Browser(app)
        browser.get(
            f"/admin/applications/{application_id}"
            if kind == "reviewer"
            else f"/apply/status/withdraw?token={token}"
        )

        def act(kind: str = kind, browser: Browser = browser, token: str = token) -> None:
            if kind == "program":
                headers = {"Status-Token": token}
                outcomes[kind] = Anybody(app)("POST", "/status/withdraw", headers=headers).status_code
            else:
                browser.fill(button="take" if kind == "reviewer" else "withdraw")
                outcomes[kind] = browser.status

        with app.app_context():
            engine = db.engine
        with engine.begin() as connection:
            connection.execute(
                sa.text("DELETE FROM applications WHERE id = :id"), {"id": uuid.UUID(application_id)}
            )
            acting = threading.Thread(target=act)
            acting.start()
            while not _somebody_waits(engine):
                assert acting.is_alive()
        acting.join()
    assert outcomes == {"page": 404, "program": 404, "reviewer": 404}


def _somebody_waits(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
