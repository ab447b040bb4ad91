"""Questions to the applicant, their answers, and the notes that no page shows them."""

import threading
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from libs.service import parts_of
from services.onboarding.flows import status
from services.onboarding.flows.review import questions
from tests.onboarding import steps
from tests.onboarding.test_review_claims import act
from tests.pages import ORIGIN, Browser

QUESTION = "Which boats?\nWith <b>sails</b>?"


def asked(app: Flask) -> tuple[str, Browser]:
    """The address of an application with an open question, and the browser of whoever asked."""
    email = steps.apply(app)
    steps.confirm(app, email)
    return email, act(app, steps.reviewer(app), email, "ask", question=QUESTION)


def answer(app: Flask, email: str, text: str = "Small ones.") -> None:
    with app.app_context():
        questions.answer(application_id=uuid.UUID(steps.facts(app, email)["id"]), text=text)


def test_a_question_is_mailed_with_the_link_of_the_application(onboarding_app: Flask) -> None:
    email, browser = asked(onboarding_app)
    assert "The question is on its way to the applicant." in browser.text
    [mail] = steps.mails(onboarding_app, email, "application_question")
    assert mail.context["question"] == QUESTION
    link = mail.context["link"]
    assert link.startswith(f"{ORIGIN}/apply/status?token=")
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["claimed_by"], values["open_question"]) == (
        "in_review",
        "Rita Reviewer",
        QUESTION,
    )
    with onboarding_app.app_context():
        [token] = parse_qs(urlsplit(link).query)["token"]
        assert str(status.find(token).id) == values["id"]
        assert status.find(token[:-4] + "AAAA") is None
        assert status.find("garbage") is None
    browser.get("/admin/applications?state=waiting&order=newest")
    assert email in browser.text
    assert "Question asked" in browser.text


def test_an_answer_is_seen_in_the_queue_and_on_the_page(onboarding_app: Flask) -> None:
    email, browser = asked(onboarding_app)
    answer(onboarding_app, email, "Small <i>ones</i>.")
    browser.get(f"/admin/applications?state=mine&q={email}")
    assert "Answered" in browser.text
    browser.get(f"/admin/applications?state=waiting&q={email}")
    assert email not in browser.text.split("</form>", 1)[1]
    browser.get(steps.page_of(onboarding_app, email))
    history = browser.text.split('id="history"')[1]
    assert "Which boats?<br>With &lt;b&gt;sails&lt;/b&gt;?" in history
    assert "Small &lt;i&gt;ones&lt;/i&gt;." in history
    assert history.index("Which boats?") < history.index("Small ")
    assert 'id="ask"' in browser.text, "there may be another question"


def test_one_question_at_a_time(onboarding_app: Flask) -> None:
    email, browser = asked(onboarding_app)
    assert 'id="ask"' not in browser.text
    with onboarding_app.app_context(), pytest.raises(questions.AlreadyAsked):
        questions.ask(application_id=uuid.UUID(steps.facts(onboarding_app, email)["id"]), text="Again?")
    answer(onboarding_app, email)
    act(onboarding_app, browser, email, "ask", question="And oars?")
    assert len(steps.mails(onboarding_app, email, "application_question")) == 2


def test_a_question_is_answered_once(onboarding_app: Flask) -> None:
    email, _ = asked(onboarding_app)
    application_id = uuid.UUID(steps.facts(onboarding_app, email)["id"])
    start, outcomes = threading.Barrier(4), []

    def reply(number: int) -> None:
        start.wait()
        try:
            with onboarding_app.app_context():
                questions.answer(application_id=application_id, text=f"Answer {number}")
            outcomes.append("kept")
        except questions.NothingAsked:
            outcomes.append("refused")

    threads = [threading.Thread(target=reply, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept", "refused", "refused", "refused"]


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decision_closes_the_question(onboarding_app: Flask, decision: str) -> None:
    email, browser = asked(onboarding_app)
    act(onboarding_app, browser, email, decision)
    assert steps.facts(onboarding_app, email)["open_question"] is None
    with pytest.raises(questions.NothingAsked):
        answer(onboarding_app, email)


def test_nobody_is_asked_at_an_address_that_is_not_confirmed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    assert "Possible once the address is confirmed." in browser.text
    browser.post(
        steps.page_of(onboarding_app, email) + "/ask", {**_token(browser), "question": "Who are you?"}
    )
    assert browser.status == 409
    assert "Who are you?" not in str(steps.mails(onboarding_app, email))


def test_an_empty_question_or_note_is_refused_and_a_long_one_comes_back(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    browser = steps.reviewer(onboarding_app)
    for button, field in (("ask", "question"), ("keep-note", "note")):
        for text, words in ((" \n ", "first|want to know"), ("kept words " * 300, "kept words")):
            act(onboarding_app, browser, email, button, **{field: text})
            assert browser.status == 422
            assert f'id="{field}-error"' in browser.text
            assert any(word in browser.text for word in words.split("|"))


def test_notes_are_for_reviewers_alone(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    note = "Met <them> in Riga."
    browser = act(onboarding_app, steps.reviewer(onboarding_app, "Nora Note"), email, "keep-note", note=note)
    history = browser.text.split('id="history"')[1]
    assert "Met &lt;them&gt; in Riga." in history
    assert "Nora Note" in history
    act(onboarding_app, browser, email, "reject", reason="Full.")
    act(onboarding_app, browser, email, "keep-note", note="A note after the decision.")
    assert steps.facts(onboarding_app, email)["notes"] == [note, "A note after the decision."]
    assert not [mail for mail in steps.mails(onboarding_app, email) if "Riga" in str(mail.context)]
    link = steps.link(onboarding_app, email, "confirm_address")
    assert "Riga" not in Browser(onboarding_app).get(link).text


def test_a_status_link_made_under_an_earlier_key_still_works(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    email, _ = asked(onboarding_app)
    [mail] = steps.mails(onboarding_app, email, "application_question")
    [token] = parse_qs(urlsplit(mail.context["link"]).query)["token"]
    parts = parts_of(onboarding_app)
    old = parts.settings.SECRET_KEY
    fresh = dataclasses.replace(parts.settings, SECRET_KEY="n" * 48)
    with onboarding_app.app_context():
        monkeypatch.setattr(parts, "settings", fresh)
        assert status.find(token) is None
        monkeypatch.setattr(parts, "settings", dataclasses.replace(fresh, SECRET_KEY_FALLBACKS=(old,)))
        assert status.find(token) is not None


def _token(browser: Browser) -> dict[str, str]:
    form, _ = browser.find_form("approve", {})
    return {name: value for name, value in form.fields if name == "csrf_token"}
