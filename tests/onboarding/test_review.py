"""Reviewers: the queue, the page of an application, the decision."""

import json
import re
import threading
import uuid

import pytest
from flask import Flask

from libs.service import parts_of
from services.onboarding.models import STATES
from tests.conftest import run_command, sign_in_copy
from tests.onboarding import steps
from tests.pages import ORIGIN, Browser


def test_every_role_but_the_reviewers_is_kept_out(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    path = steps.page_of(onboarding_app, email)
    for roles, status in (([], 403), (["support"], 403), (["reviewer"], 200), (["admin"], 200)):
        browser = Browser(onboarding_app)
        sign_in_copy(browser, onboarding_app, roles=roles)
        assert browser.get("/admin/applications").status_code == status, roles
        assert browser.get(path).status_code == status, roles
    stranger = Browser(onboarding_app).get(path)
    assert stranger.status_code == 303
    assert stranger.headers["Location"].startswith("/login?continue=")


def test_nobody_but_a_reviewer_decides(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    path = steps.page_of(onboarding_app, email)
    for roles in ([], ["support"]):
        browser = Browser(onboarding_app)
        sign_in_copy(browser, onboarding_app, roles=roles)
        browser.get("/apply")
        form, _ = browser.find_form("apply", {})
        data = {**dict(form.fields), "decision": "approve"}
        assert browser.post(path, data, headers={"Origin": ORIGIN}).status_code == 403
    assert Browser(onboarding_app).post(path, {"decision": "approve"}).status_code in (400, 403)
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_a_decision_needs_the_pages_own_token(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    path = steps.page_of(onboarding_app, email)
    browser = steps.reviewer(onboarding_app)
    assert browser.post(path, {"decision": "approve"}).status_code == 400
    assert (
        browser.post(path, {"decision": "approve"}, headers={"Origin": "https://evil.test"}).status_code
        == 403
    )
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_the_queue_shows_what_waits_and_hides_what_is_decided(onboarding_app: Flask) -> None:
    mark = uuid.uuid4().hex[:8]
    waiting = steps.apply(onboarding_app, name=f"Waiting {mark}")
    decided = steps.apply(onboarding_app, name=f"Decided {mark}")
    browser = steps.approve(onboarding_app, decided)
    browser.get(f"/admin/applications?q={mark}")
    assert waiting in browser.text
    assert decided not in browser.text
    browser.get(f"/admin/applications?q={mark}&state=approved")
    assert waiting not in browser.text
    assert decided in browser.text
    browser.get(f"/admin/applications?q={mark}&state=all")
    assert waiting in browser.text
    assert decided in browser.text


@pytest.mark.parametrize("search", ["{mark}", "nAmE {mark}", "ADA-", "%", "_", "zz\0zz", "'; --", "\\"])
def test_search_takes_what_is_typed_literally(onboarding_app: Flask, search: str) -> None:
    mark = uuid.uuid4().hex[:8]
    email = steps.apply(onboarding_app, name=f"Name {mark}")
    browser = steps.reviewer(onboarding_app)
    page = browser.get("/admin/applications", query_string={"q": search.format(mark=mark), "order": "newest"})
    assert page.status_code == 200
    assert (email in page.text) == (search not in ("%", "_", "zz\0zz", "'; --", "\\"))


def test_odd_queries_show_the_queue(onboarding_app: Flask) -> None:
    browser = steps.reviewer(onboarding_app)
    for query in ("state=nonsense", "order=sideways", "after=garbage", "after=", "page=-1"):
        assert browser.get(f"/admin/applications?{query}").status_code == 200


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_pages_show_every_application_once_in_order(
    onboarding_app: Flask, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.onboarding.flows.review import queue

    monkeypatch.setitem(queue.find.__kwdefaults__, "size", 3)  # type: ignore[arg-type]
    mark = uuid.uuid4().hex[:8]
    names = [f"Nr{number} {mark}" for number in range(8)]
    for name in names:
        steps.apply(onboarding_app, name=name)
    browser = steps.reviewer(onboarding_app)
    browser.get(f"/admin/applications?q={mark}&order={order}")
    seen: list[str] = []
    for _ in range(5):
        seen += re.findall(rf"<bdi>(Nr\d {mark})</bdi>", browser.text)
        following = re.search(r'id="next" rel="next" href="([^"]+)"', browser.text)
        if following is None:
            break
        browser.get(following[1].replace("&amp;", "&"))
        assert "To the beginning" in browser.text
    assert seen == (names if order == "oldest" else names[::-1])


def test_the_page_shows_answers_and_a_history_with_names(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    browser = steps.approve(onboarding_app, email, steps.reviewer(onboarding_app, "Rosa R. Eviewer"))
    assert browser.status == 200
    for words in (email, steps.WHY, "Approved. The activation mail is on its way."):
        assert words in browser.text
    history = browser.text.split('id="history"')[1]
    assert "Application submitted" in history
    assert "The applicant" in history
    assert "Rosa R. Eviewer" in history
    assert 'id="approve"' not in browser.text, "what is decided is not asked again"


def test_a_rejection_is_mailed_with_its_reason(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    browser = steps.reviewer(onboarding_app)
    browser.fill(
        steps.page_of(onboarding_app, email),
        button="reject",
        reason="We are full.\r\nNext year!",
        follow=True,
    )
    assert "We are full.<br>Next year!" in browser.text
    [mail] = steps.mails(onboarding_app, email, "application_rejected")
    assert (mail.context["name"], mail.context["reason"]) == ("Ada Lovelace", "We are full.\nNext year!")
    values = steps.facts(onboarding_app, email)
    assert (values["state"], values["decided_by"]) == ("rejected", "Rita Reviewer")
    link = steps.link(onboarding_app, email, "confirm_address")
    assert "could not accept" in Browser(onboarding_app).get(link, follow=True).text


def test_a_rejection_without_a_reason_is_mailed_without_one(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    confirmation = steps.link(onboarding_app, email, "confirm_address")
    steps.reviewer(onboarding_app).fill(steps.page_of(onboarding_app, email), button="reject", reason="  ")
    [mail] = steps.mails(onboarding_app, email, "application_rejected")
    assert mail.context["reason"] is None
    assert Browser(onboarding_app).get(confirmation).status_code == 410, "nothing is left to confirm"


def test_a_reason_that_is_too_long_comes_back_filled_in(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.fill(steps.page_of(onboarding_app, email), button="reject", reason="kept words " * 300)
    assert browser.status == 422
    assert "kept words" in browser.text
    assert 'id="reason-error"' in browser.text
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


@pytest.mark.parametrize("decision", ["", "activate", "confirmed"])
def test_a_decision_nobody_knows_changes_nothing(onboarding_app: Flask, decision: str) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    form, _ = browser.find_form("approve", {})
    browser.post(browser.url, {**dict(form.fields), "decision": decision}, headers={"Origin": ORIGIN})
    assert browser.status == 400
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_an_application_nobody_made_is_not_found(onboarding_app: Flask) -> None:
    browser = steps.reviewer(onboarding_app)
    for name in (uuid.uuid4(), "garbage", "1"):
        assert browser.get(f"/admin/applications/{name}").status_code == 404


def test_the_second_reviewer_is_told_who_was_first(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    second = steps.reviewer(onboarding_app, "Second Reviewer")
    second.get(steps.page_of(onboarding_app, email))
    steps.approve(onboarding_app, email, steps.reviewer(onboarding_app, "First Reviewer"))
    second.fill(button="reject", reason="too late")
    assert second.status == 409
    assert "First Reviewer has already approved this application." in second.text
    assert steps.facts(onboarding_app, email)["state"] == "approved"
    assert not steps.mails(onboarding_app, email, "application_rejected")


def test_a_reviewer_whose_answer_was_lost_may_send_it_again(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    form, _ = browser.find_form("approve", {})
    for _ in range(2):
        page = browser.post(
            browser.url, {**dict(form.fields), "decision": "approve"}, headers={"Origin": ORIGIN}
        )
        assert page.status_code == 303
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1


def test_of_many_reviewers_side_by_side_one_wins(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    path = steps.page_of(onboarding_app, email)
    crowd = [steps.reviewer(onboarding_app, f"Reviewer {number}") for number in range(6)]
    for browser in crowd:
        browser.get(path)
    decisions = ["approve", "reject"] * 3
    threads = [
        threading.Thread(target=browser.fill, kwargs={"button": decision})
        for browser, decision in zip(crowd, decisions, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [browser.status for browser in crowd]
    assert sorted(statuses) == [303] + [409] * 5
    won = decisions[statuses.index(303)]
    activation = steps.mails(onboarding_app, email, "activation_link")
    rejection = steps.mails(onboarding_app, email, "application_rejected")
    assert (len(activation), len(rejection)) == ((1, 0) if won == "approve" else (0, 1))
    entries = run_command(
        onboarding_app, "audit", "list", "--json", "--target", "application:" + path.split("/")[-1]
    )
    actions = [entry["action"] for entry in json.loads(entries.stdout)]
    assert (
        len([action for action in actions if action in ("application.approved", "application.rejected")]) == 1
    )


def test_approving_and_confirming_side_by_side_mails_one_activation_link(onboarding_app: Flask) -> None:
    for _ in range(5):
        email = steps.apply(onboarding_app)
        staff, applicant = steps.reviewer(onboarding_app), Browser(onboarding_app)
        staff.get(steps.page_of(onboarding_app, email))
        applicant.get(steps.link(onboarding_app, email, "confirm_address"))
        threads = [
            threading.Thread(target=staff.fill, kwargs={"button": "approve"}),
            threading.Thread(target=applicant.fill, kwargs={"button": "confirm"}),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (staff.status, applicant.status) == (303, 303)
        assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
        values = steps.facts(onboarding_app, email)
        assert values["state"] == "approved"
        assert values["address_confirmed_at"]


def test_staff_see_how_many_wait_and_dashboards_how_many_there_are(onboarding_app: Flask) -> None:
    parts = parts_of(onboarding_app)

    def world() -> tuple[dict[str, float], int]:
        with onboarding_app.app_context():
            samples = {labels["state"]: value for _, _, labels, value in parts.gauges() if labels}
            count = parts.waiting()["applications"]
            parts.db.session.rollback()
        return samples, count

    before, waiting = world()
    assert set(before) == set(STATES)
    email = steps.apply(onboarding_app)
    assert world()[0]["submitted"] == before["submitted"] + 1
    assert world()[1] == waiting + 1
    steps.approve(onboarding_app, email)
    assert world()[0]["approved"] == before["approved"] + 1
    assert world()[1] == waiting


def test_pages_speak_russian(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = Browser(onboarding_app)
    sign_in_copy(browser, onboarding_app, roles=["reviewer"], claims={"locale": "ru"})
    browser.get("/admin/applications?order=newest")
    assert "Заявки" in browser.text
    browser.fill(steps.page_of(onboarding_app, email), button="approve", follow=True)
    assert "Заявка одобрена. Письмо для активации уйдёт" in browser.text
