"""The desk of invitations: who sees it, who gives roles by it, and that a link is shown once."""

import re
import uuid

import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import Browser


def made_link(browser: Browser) -> str | None:
    found = re.search(r'id="invitation-link">([^<]+)<', browser.text)
    return found[1] if found else None


def test_only_reviewers_and_administrators_see_the_desk(onboarding_app: Flask) -> None:
    for roles, status in ((("support",), 403), (("reviewer",), 200), (("admin",), 200)):
        browser = steps.reviewer(onboarding_app, roles=roles)
        for path in ("/admin/invitations", "/admin/invitations/new"):
            assert browser.get(path).status_code == status
    assert Browser(onboarding_app).get("/admin/invitations").status_code == 303


def test_a_link_is_made_on_the_page_and_shown_once(onboarding_app: Flask) -> None:
    browser = steps.reviewer(onboarding_app)
    note = f"boat club {uuid.uuid4().hex}"
    browser.fill("/admin/invitations/new", button="invite", uses="5", note=note, follow=True)
    link = made_link(browser)
    assert link is not None
    assert note in browser.text
    assert Browser(onboarding_app).get(steps.path_of(link)).status_code == 200
    assert "Rita Reviewer invites you" in Browser(onboarding_app).get(steps.path_of(link)).text
    browser.get("/admin/invitations")
    assert made_link(browser) is None
    assert link.partition("=")[2] not in browser.text


def test_the_link_of_a_mailed_invitation_is_never_shown_to_staff(onboarding_app: Flask) -> None:
    browser, email = steps.reviewer(onboarding_app), steps.new_email()
    browser.fill("/admin/invitations/new", button="invite", email=email, follow=True)
    assert email in browser.text
    assert made_link(browser) is None
    [mail] = steps.mails(onboarding_app, email, "invitation")
    assert mail.context["inviter"] == "Rita Reviewer"
    assert mail.context["link"].partition("=")[2] not in browser.text


def test_what_was_entered_wrong_is_said_beside_its_field(onboarding_app: Flask) -> None:
    browser = steps.reviewer(onboarding_app)
    browser.fill("/admin/invitations/new", button="invite", email="nobody", note="kept words")
    assert (browser.status, 'id="email-error"' in browser.text) == (422, True)
    assert "kept words" in browser.text
    browser.fill("/admin/invitations/new", button="invite", uses="many")
    assert (browser.status, 'id="uses-error"' in browser.text) == (422, True)


def with_roles(browser: Browser, path: str, **fields: str) -> int:
    """Send the form with a role, wherever it leads by 307."""
    browser.get("/admin/invitations/new")
    form, _ = browser.find_form("invite", {})
    data = {**dict(form.fields), "uses": "1", "roles": "support", **fields}
    page = browser.post(path, data)
    if page.status_code == 307:
        page = browser.post(page.headers["Location"], data)
    return page.status_code


def test_roles_are_given_by_administrators_with_a_fresh_sign_in_alone(onboarding_app: Flask) -> None:
    import time

    from tests.conftest import sign_in_copy

    for path in ("/admin/invitations/new", "/admin/invitations/new/with-roles"):
        assert with_roles(steps.reviewer(onboarding_app), path) == 403
        old = Browser(onboarding_app)
        sign_in_copy(old, onboarding_app, roles=["admin"], auth_time=int(time.time()) - 3600)
        assert with_roles(old, path) == 403
        assert "Sign in" in old.text
        browser = steps.reviewer(onboarding_app, roles=("admin",))
        assert with_roles(browser, path, roles="king") == 422
        assert with_roles(browser, path) == 303
        browser.get("/admin/invitations")
        assert made_link(browser) is not None


def test_a_reviewer_gets_no_link_that_gives_roles_by_sending_it_again(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="1", role="admin")
    browser = steps.reviewer(onboarding_app)
    browser.get("/admin/invitations")
    assert f"resend-{made['id']}" not in browser.text
    form, _ = browser.find_form(f"withdraw-{made['id']}", {})
    for path in (
        f"/admin/invitations/{made['id']}/resend",
        f"/admin/invitations/{made['id']}/resend/with-roles",
    ):
        page = browser.post(path, dict(form.fields))
        if page.status_code == 307:
            page = browser.post(page.headers["Location"], dict(form.fields))
        assert page.status_code == 403
    assert Browser(onboarding_app).get(steps.path_of(made["link"])).status_code == 200, "nothing happened"


def test_the_list_is_filtered_searched_and_paged(onboarding_app: Flask) -> None:
    mark = uuid.uuid4().hex[:10]
    made = [steps.invite(onboarding_app, uses="1", note=f"{mark} {number}") for number in range(3)]
    run_command(onboarding_app, "invitations", "withdraw", made[0]["id"])
    browser = steps.reviewer(onboarding_app)
    for state, expected in (("all", 3), ("open", 2), ("withdrawn", 1), ("used", 0), ("nonsense", 3)):
        browser.get("/admin/invitations", query_string={"q": mark.upper(), "state": state})
        assert browser.text.count('class="card"') == expected, state
    with onboarding_app.app_context():
        from services.onboarding.flows.invitations import keeping

        seen, after = [], None
        while True:
            page = keeping.find(search=mark, after=after, size=2)
            seen += [str(row.id) for row in page.invitations]
            if (after := page.after) is None:
                break
    assert seen == [one["id"] for one in reversed(made)]
    for odd in ("after=nonsense", "q=%00", "q=%25"):
        assert browser.get(f"/admin/invitations?{odd}").status_code == 200


def test_withdrawing_on_the_page_ends_the_link(onboarding_app: Flask) -> None:
    made = steps.invite(onboarding_app, uses="4")
    browser = steps.reviewer(onboarding_app)
    browser.fill("/admin/invitations", button=f"withdraw-{made['id']}", follow=True)
    assert "withdrawn" in browser.text
    assert Browser(onboarding_app).get(steps.path_of(made["link"])).status_code == 410


def test_no_link_of_an_invitation_is_kept_or_logged(onboarding_app: Flask, log_text) -> None:  # type: ignore[no-untyped-def]
    made = steps.invite(onboarding_app, uses="1")
    token = made["link"].partition("=")[2]
    steps.accept(onboarding_app, steps.path_of(made["link"]), steps.new_email())
    with onboarding_app.app_context(), parts_of(onboarding_app).db.engine.connect() as connection:
        for table in ("invitations", "audit_entries", "outbox_events"):
            rows = connection.execute(sa.text(f"SELECT t::text FROM {table} t")).scalars()
            assert all(token not in row for row in rows), table
    assert token not in log_text()
