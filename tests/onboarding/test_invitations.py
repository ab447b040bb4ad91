"""Invitations: the mailed one that leads straight on, the link for several people, and how each of them ends."""

import json
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.events import ApplicantActivated, MailEnded
from libs.service import parts_of
from tests.conftest import receive, recorded, run_command
from tests.onboarding import steps
from tests.onboarding.steps import activation, press
from tests.pages import Browser


def set_mode(app: Flask, mode: str) -> None:
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE policies SET mode = :mode"), {"mode": mode})


# -- mailed ---------------------------------------------------------------------------------------------------


def test_a_mailed_invitation_leads_its_mailbox_straight_on_to_the_account(onboarding_app: Flask) -> None:
    email = steps.new_email()
    made = steps.invite(onboarding_app, email, role="reviewer")
    assert "link" not in made, "the link is for the mailbox alone"
    [mail] = steps.mails(onboarding_app, email, "invitation")
    assert mail.deduplication_key.startswith(f"invitation:{made['id']}:")
    path = steps.path_of(mail.context["link"])

    browser = Browser(onboarding_app)
    page = browser.get(path)
    assert (page.status_code, page.headers["Referrer-Policy"]) == (200, "no-referrer")
    assert page.headers["Cache-Control"] == "no-store"
    assert f'value="{email}"' in page.text
    browser.fill(button="apply", name="Ada", why=steps.WHY)

    ticket = press(onboarding_app, activation(browser))
    assert (ticket["email"], ticket["email_verified"], ticket["roles"]) == (email, True, ["reviewer"])
    facts = steps.facts(onboarding_app, email)
    assert (facts["state"], facts["decided_by"]) == ("approved", f"invitation:{made['id']}")
    assert not steps.mails(onboarding_app, email, "confirm_address"), "the token has proven the address"
    assert steps.invitation_facts(onboarding_app, made["id"])["state"] == "used"
    steps.open_account(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "activated"


def test_the_same_link_is_in_a_mail_for_whoever_closes_the_page(onboarding_app: Flask) -> None:
    email = steps.new_email()
    steps.invite(onboarding_app, email)
    path = steps.link(onboarding_app, email, "invitation")
    typed = email.replace("Ada", "ADA")
    shown = activation(steps.accept(onboarding_app, path, typed))
    assert steps.link(onboarding_app, typed, "activation_link") == shown


def test_looking_at_an_invitation_spends_nothing(onboarding_app: Flask) -> None:
    email = steps.new_email()
    made = steps.invite(onboarding_app, email)
    path = steps.link(onboarding_app, email, "invitation")
    for method in ("GET", "HEAD", "GET"):
        assert Browser(onboarding_app).open(path, method=method).status_code == 200
    facts = steps.invitation_facts(onboarding_app, made["id"])
    assert (facts["state"], facts["uses"]) == ("open", 0)


def test_a_mailed_invitation_used_for_another_address_waits_for_that_to_be_confirmed(
    onboarding_app: Flask,
) -> None:
    steps.invite(onboarding_app, invited := steps.new_email())
    path, other = steps.link(onboarding_app, invited, "invitation"), steps.new_email()
    browser = steps.accept(onboarding_app, path, other)
    assert browser.location == "/invitations/sent"
    facts = steps.facts(onboarding_app, other)
    assert (facts["state"], facts["address_confirmed_at"]) == ("submitted", None)
    assert not steps.mails(onboarding_app, other, "activation_link")
    again = Browser(onboarding_app).get(path)
    assert again.status_code == 410
    assert "used up" in again.text
    assert 'id="go-on"' not in again.text, "the other mailbox proves nothing about this one"


def test_whoever_left_after_accepting_goes_on_with_a_fresh_link(onboarding_app: Flask) -> None:
    steps.invite(onboarding_app, email := steps.new_email())
    path = steps.link(onboarding_app, email, "invitation")
    first = activation(steps.accept(onboarding_app, path, email))
    browser = Browser(onboarding_app)
    browser.fill(path, button="go-on")
    second = activation(browser)
    assert Browser(onboarding_app).get(first).status_code == 410
    assert Browser(onboarding_app).get(second).status_code == 200
    steps.open_account(onboarding_app, email)
    done = Browser(onboarding_app).get(path)
    assert (done.status_code, 'id="go-on"' in done.text) == (410, False)


def test_an_application_that_waits_for_review_is_let_in_by_an_invitation(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    made = steps.invite(onboarding_app, email)
    activation(steps.accept(onboarding_app, steps.link(onboarding_app, email, "invitation"), email))
    facts = steps.facts(onboarding_app, email)
    assert (facts["state"], facts["applications_of_this_address"]) == ("approved", 1)
    assert facts["decided_by"] == f"invitation:{made['id']}"


# -- a link for several ---------------------------------------------------------------------------------------


def test_a_link_lets_in_as_many_people_as_it_is_for_once_they_have_confirmed(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="2")
    path = steps.path_of(made["link"])
    emails = [steps.new_email() for _ in range(3)]
    for email in emails[:2]:
        assert steps.accept(onboarding_app, path, email).location == "/invitations/sent"
    assert Browser(onboarding_app).get(path).status_code == 410
    for email in emails[:2]:
        [mail] = steps.mails(onboarding_app, email)
        assert mail.template == "confirm_address"
        browser = Browser(onboarding_app)
        browser.fill(steps.link(onboarding_app, email, "confirm_address"), button="confirm")
        shown = activation(browser)
        assert steps.link(onboarding_app, email, "activation_link") == shown
        assert press(onboarding_app, shown)["email_verified"] is True
    assert not steps.mails(onboarding_app, emails[2])


def test_a_repeated_form_uses_an_invitation_once_and_the_newest_answers_count(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="1")
    path, email = steps.path_of(made["link"]), steps.new_email()
    browser = Browser(onboarding_app)
    browser.get(path)
    for name in ("Ada", "Ada", "Ada Lovelace"):
        form, _ = browser.find_form("apply", {})
        data = {**dict(form.fields), "email": email, "name": name, "why": steps.WHY}
        assert browser.post(path, data).status_code == 303
        browser.get("/apply")
    facts = steps.facts(onboarding_app, email)
    assert (facts["name"], facts["applications_of_this_address"]) == ("Ada Lovelace", 1)
    assert steps.invitation_facts(onboarding_app, made["id"])["uses"] == 1
    assert Browser(onboarding_app).get(path).status_code == 410


def test_ten_people_at_once_get_the_three_places_of_a_link(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="3")
    path = steps.path_of(made["link"])
    statuses = _at_once(onboarding_app, path, [steps.new_email() for _ in range(10)])
    assert sorted(statuses) == [303] * 3 + [410] * 7
    assert steps.invitation_facts(onboarding_app, made["id"])["uses"] == 3


def test_one_person_ten_times_at_once_takes_one_place(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="3")
    email = steps.new_email()
    statuses = _at_once(onboarding_app, steps.path_of(made["link"]), [email] * 10)
    assert statuses == [303] * 10
    assert steps.invitation_facts(onboarding_app, made["id"])["uses"] == 1
    assert steps.facts(onboarding_app, email)["applications_of_this_address"] == 1


def _at_once(app: Flask, path: str, emails: list[str]) -> list[int]:
    barrier, statuses = threading.Barrier(len(emails)), []

    def go(email: str, number: int) -> None:
        browser = Browser(app, ip=f"10.1.{number}.1")
        browser.get(path)
        form, _ = browser.find_form("apply", {})
        data = {**dict(form.fields), "email": email, "name": "Ada", "why": steps.WHY}
        barrier.wait()
        statuses.append(browser.post(path, data).status_code)

    threads = [threading.Thread(target=go, args=(email, n)) for n, email in enumerate(emails)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


# -- how they end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("expired", "Its time is over"),
        ("withdrawn", "It was withdrawn"),
        ("superseded", "A newer one has taken its place"),
        ("unknown", "We do not know this link"),
        ("used", "It has been used up"),
    ],
)
def test_a_link_that_ended_says_why_and_opens_nothing(onboarding_app: Flask, why: str, words: str) -> None:
    made = steps.invite(onboarding_app, uses="1")
    path, email = steps.path_of(made["link"]), steps.new_email()
    browser = Browser(onboarding_app)
    browser.get(path)
    form, _ = browser.find_form("apply", {})
    if why == "expired":
        steps.change_invitation(onboarding_app, made["id"], expires_at=utcnow() - timedelta(seconds=1))
    elif why == "withdrawn":
        assert run_command(onboarding_app, "invitations", "withdraw", made["id"]).exit_code == 0
    elif why == "superseded":
        result = run_command(onboarding_app, "invitations", "resend", made["id"], "--json")
        assert steps.path_of(json.loads(result.stdout)["link"]) != path
    elif why == "unknown":
        path += "x"
    else:
        steps.accept(onboarding_app, path, steps.new_email())
    data = {**dict(form.fields), "email": email, "name": "Ada", "why": steps.WHY}
    for page in (browser.post(path, data), browser.get(path)):
        assert page.status_code == 410
        assert words in page.text
        assert page.headers["Referrer-Policy"] == "no-referrer"
    assert run_command(onboarding_app, "applications", "show", email).exit_code == 1, "nothing was kept"


def test_no_token_at_all_is_an_unknown_link(onboarding_app: Flask) -> None:
    for path in ("/invitations", "/invitations?token=", "/invitations?token=%00"):
        assert Browser(onboarding_app).get(path).status_code == 410


def test_tokens_of_other_kinds_open_no_invitation_and_the_other_way_round(onboarding_app: Flask) -> None:
    email = steps.approved(onboarding_app)
    token = steps.link(onboarding_app, email, "activation_link").partition("=")[2]
    assert Browser(onboarding_app).get(f"/invitations?token={token}").status_code == 410
    made = steps.invite(onboarding_app, uses="1")
    invitation = made["link"].partition("=")[2]
    for path in ("/activate", "/apply/confirm"):
        assert Browser(onboarding_app).get(f"{path}?token={invitation}").status_code == 410


@pytest.mark.parametrize(
    ("mode", "status"), [("open", 303), ("review", 303), ("invitation", 303), ("closed", 403)]
)
def test_an_invitation_opens_the_door_in_every_mode_but_the_closed_one(
    onboarding_app: Flask, mode: str, status: int
) -> None:
    steps.invite(onboarding_app, email := steps.new_email())
    path = steps.link(onboarding_app, email, "invitation")
    browser = Browser(onboarding_app)
    browser.get(path)
    form, _ = browser.find_form("apply", {})
    data = {**dict(form.fields), "email": email, "name": "Ada", "why": steps.WHY}
    set_mode(onboarding_app, mode)
    try:
        assert Browser(onboarding_app).get(path).status_code == (403 if mode == "closed" else 200)
        assert browser.post(path, data).status_code == status
    finally:
        set_mode(onboarding_app, "review")


def test_sent_again_an_invitation_has_a_new_link_and_the_old_mails_trouble_is_none_of_its(
    onboarding_app: Flask,
) -> None:
    email = steps.new_email()
    made = steps.invite(onboarding_app, email)
    [first] = steps.mails(onboarding_app, email, "invitation")
    ended = MailEnded(template="invitation", deduplication_key=first.deduplication_key, outcome="failed")
    assert receive(onboarding_app, ended, "notification") == "handled"
    assert steps.invitation_facts(onboarding_app, made["id"])["mail_trouble"] == "failed"
    browser = steps.reviewer(onboarding_app)
    browser.get("/admin/invitations", query_string={"q": email})
    assert "could not be delivered" in browser.text
    browser.fill(button=f"resend-{made['id']}")
    assert len(steps.mails(onboarding_app, email, "invitation")) == 2
    assert receive(onboarding_app, ended, "notification") == "handled"
    assert steps.invitation_facts(onboarding_app, made["id"])["mail_trouble"] is None
    assert Browser(onboarding_app).get(steps.path_of(first.context["link"])).status_code == 410
    assert Browser(onboarding_app).get(steps.link(onboarding_app, email, "invitation")).status_code == 200


def test_an_expired_invitation_sent_again_works_anew(onboarding_app: Flask) -> None:
    email = steps.new_email()
    made = steps.invite(onboarding_app, email, expires="1h")
    steps.change_invitation(onboarding_app, made["id"], expires_at=utcnow() - timedelta(hours=1))
    assert run_command(onboarding_app, "invitations", "resend", made["id"], "--expires", "2d").exit_code == 0
    assert Browser(onboarding_app).get(steps.link(onboarding_app, email, "invitation")).status_code == 200


def test_what_is_over_is_not_sent_again(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="1")
    run_command(onboarding_app, "invitations", "withdraw", made["id"])
    result = run_command(onboarding_app, "invitations", "resend", made["id"])
    assert (result.exit_code, "over" in result.stderr) == (1, True)
    again = run_command(onboarding_app, "invitations", "withdraw", made["id"])
    assert again.exit_code == 0, "safe to repeat"


def test_commands_refuse_what_makes_no_sense_with_a_sentence(onboarding_app: Flask) -> None:
    for arguments in (
        ("--email", "nobody"),
        ("--email", "a@people.test", "--uses", "2"),
        ("--uses", "0"),
        ("--expires", "400d"),
        ("--role", "king"),
        ("--note", "x" * 501),
    ):
        result = run_command(onboarding_app, "invitations", "create", *arguments)
        assert result.exit_code != 0, arguments
        assert result.stderr.strip(), arguments


def test_roles_of_an_invitation_reach_a_direct_activation_too(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="1", role="support")
    email = steps.new_email()
    steps.accept(onboarding_app, steps.path_of(made["link"]), email)
    assert run_command(onboarding_app, "applications", "activate", email).exit_code == 0
    event = recorded(onboarding_app, ApplicantActivated)[-1]
    assert isinstance(event, ApplicantActivated)
    assert (event.email, event.roles) == (email, ["support"])
