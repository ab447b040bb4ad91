"""The staff pages of people: who may look, who may act, and on whom."""

import json
import re
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import MailRequested
from libs.people.sessions import secret_digest
from tests.account.conftest import Person, cookie_of, delete_copy, execute, is_signed_in, rows, sign_in
from tests.account.password_tools import add_totp
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of

LOOKING = ("/admin/users", "/admin/users/{sub}")
SUPPORTING = ("secure", "password-link", "revoke", "sessions/{sid}/end")
ADMINISTERING = ("disable", "enable", "roles", "second-factor", "erase", "keep")


def roles_of(app: Flask, person: Person) -> list[str]:
    found: list[str] = rows(app, "SELECT roles FROM users WHERE sub = :sub", sub=person.sub)[0].roles
    return found


def press(browser: Browser, path: str, **data: str) -> int:
    """POST as a form would, whether or not the page shows it."""
    browser.get("/account/sessions")
    return browser.post(path, {"csrf_token": token_of(browser), **data}).status_code


def sid_of(app: Flask, person: Person) -> str:
    query = (
        "SELECT s.id::text AS sid FROM sign_in_sessions s JOIN users ON users.id = user_id WHERE sub = :sub"
    )
    [row, *_] = rows(app, query + " AND ended_at IS NULL", sub=person.sub)
    sid: str = row.sid
    return sid


# -- who may what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "looks", "supports", "administers"),
    [
        ([], 403, 403, 403),
        (["reviewer"], 403, 403, 403),
        (["support"], 200, 303, 403),
        (["reviewer", "support"], 200, 303, 403),
        (["admin"], 200, 303, 303),
    ],
)
def test_every_admin_route_is_tried_by_each_role(
    app: Flask,
    make_person: Callable[..., Person],
    roles: list[str],
    looks: int,
    supports: int,
    administers: int,
) -> None:
    browser, member = sign_in(Browser(app), make_person(roles=roles)), make_person()
    sign_in(Browser(app), member)
    words = {"sub": member.sub, "sid": sid_of(app, member)}
    for path in LOOKING:
        assert browser.get(path.format(**words)).status_code == looks, path
    data = {"reason": "test", "give": "reviewer"}
    for action in reversed(SUPPORTING):
        assert press(browser, f"/admin/users/{member.sub}/{action.format(**words)}", **data) == supports, (
            action
        )
    for action in ADMINISTERING:
        assert press(browser, f"/admin/users/{member.sub}/{action}", **data) == administers, action


def test_every_route_of_the_table_is_tried_above(app: Flask) -> None:
    tried = {path.replace("{sub}", "<uuid:sub>") for path in LOOKING}
    tried |= {
        f"/admin/users/<uuid:sub>/{action.replace('{sid}', '<uuid:sid>')}"
        for action in SUPPORTING + ADMINISTERING
    }
    served = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("users.")}
    assert {path for path in served if path.startswith("/admin/")} == tried


def test_strangers_are_asked_to_sign_in(browser: Browser, person: Person) -> None:
    for path in ("/admin/users", f"/admin/users/{person.sub}", "/admin/users/blocks", "/admin/login-events"):
        assert browser.get(path).headers["Location"].startswith("/login?continue=%2Fadmin%2F")


def test_staff_pages_need_the_forms_token(admin: Browser, person: Person) -> None:
    for action in (*ADMINISTERING, *SUPPORTING[:-1], f"sessions/{uuid.uuid4()}/end"):
        assert admin.post(f"/admin/users/{person.sub}/{action}").status_code == 400, action


def test_support_looks_at_an_administrator_and_changes_nothing(
    app: Flask, support: Browser, make_person: Callable[..., Person]
) -> None:
    boss = make_person(roles=["admin"])
    theirs = sign_in(Browser(app), boss)
    page = f"/admin/users/{boss.sub}"
    assert support.get(page).status_code == 200
    assert "only administrators may change" in support.text
    for button in ("revoke", "secure", "send-password-link", "disable"):
        assert f'id="{button}"' not in support.text
    for action in ("revoke", "secure", "password-link"):
        assert press(support, f"{page}/{action}") == 403, action
    assert press(support, f"{page}/sessions/{sid_of(app, boss)}/end") == 403
    assert is_signed_in(theirs)


def test_nobody_acts_on_themselves_where_it_would_lock_them_out(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    make_person(roles=["admin"])
    me = make_person(roles=["admin"])
    browser = sign_in(Browser(app), me)
    page = f"/admin/users/{me.sub}"
    text = browser.get(page).text
    for button in ("disable", "enable", "take-admin", "give-support"):
        assert f'id="{button}"' not in text
    for action, data in (
        ("disable", {}),
        ("secure", {}),
        ("erase", {"email": me.email}),
        ("keep", {}),
        ("second-factor", {"reason": "lost it"}),
        ("enable", {}),
        ("roles", {"take": "admin"}),
        ("roles", {"give": "support"}),
    ):
        assert press(browser, f"{page}/{action}", **data) == 403, action
    assert roles_of(app, me) == ["admin"]
    assert is_signed_in(browser)


def test_roles_need_a_fresh_sign_in(app: Flask, person: Person, admin: Browser) -> None:
    execute(
        app,
        "UPDATE sign_in_sessions SET auth_time = now() - interval '6 minutes' WHERE secret_digest = :digest",
        digest=secret_digest(cookie_of(admin)),
    )
    delete_copy(app, admin)
    assert press(admin, f"/admin/users/{person.sub}/roles", give="admin") == 403
    assert 'id="sign-in-again"' in admin.text
    assert roles_of(app, person) == []


# -- what is done ----------------------------------------------------------------------------------------------


def test_staff_find_a_person_and_disable_them(
    app: Flask, admin: Browser, make_person: Callable[..., Person]
) -> None:
    tag = uuid.uuid4().hex[:8]
    member = make_person(name=f"{tag} <b>Bold</b>")
    text = admin.get("/admin/users", query_string={"q": tag}).text
    assert member.email in text
    assert "<b>Bold" not in text
    other = sign_in(Browser(app), member)
    admin.fill(f"/admin/users/{member.sub}", button="disable", reason="left", follow=True)
    assert "disabled" in admin.text
    assert not is_signed_in(other)
    admin.fill(button="enable", follow=True)
    sign_in(other, member)
    admin.fill(f"/admin/users/{member.sub}", button="revoke", follow=True)
    assert "1 session was ended." in admin.text
    assert not is_signed_in(other)
    entries = json.loads(run_command(app, "audit", "list", "--target", f"user:{member.sub}", "--json").output)
    disabled = next(entry for entry in entries if entry["action"] == "user.disabled")
    assert disabled["actor"].startswith("user:")
    assert disabled["reason"] == "left"


def test_support_ends_one_session_of_a_person(app: Flask, support: Browser, person: Person) -> None:
    one = sign_in(Browser(app), person)
    sid = sid_of(app, person)
    other = sign_in(Browser(app), person)
    support.fill(f"/admin/users/{person.sub}", button=sid, follow=True)
    assert "That session was ended." in support.text
    assert not is_signed_in(one)
    assert is_signed_in(other)
    somebody_elses = sid_of(app, person)
    stranger = f"/admin/users/{uuid.uuid4()}/sessions/{somebody_elses}/end"
    assert press(support, stranger) == 404


def test_a_session_is_ended_under_its_owner_alone(
    app: Flask, support: Browser, make_person: Callable[..., Person]
) -> None:
    one, other = make_person(), make_person()
    browser = sign_in(Browser(app), one)
    assert press(support, f"/admin/users/{other.sub}/sessions/{sid_of(app, one)}/end") == 404
    assert is_signed_in(browser)


def test_support_sends_a_password_link_and_sees_no_secret(
    app: Flask, support: Browser, person: Person
) -> None:
    support.fill(f"/admin/users/{person.sub}", button="send-password-link", follow=True)
    assert "A link that sets a password was mailed." in support.text
    [mail] = [mail for mail in recorded(app, MailRequested) if mail.recipient == person.email]
    token = mail.context["link"].partition("token=")[2]
    assert token
    assert token not in support.text
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    assert 'id="send-password-link"' not in support.get(f"/admin/users/{person.sub}").text
    assert press(support, f"/admin/users/{person.sub}/password-link") >= 400


def test_support_secures_an_account(app: Flask, support: Browser, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    support.fill(f"/admin/users/{person.sub}", button="secure", reason="phished", follow=True)
    assert "The account is secured" in support.text
    assert not is_signed_in(browser)
    browser.fill("/login", email=person.email, password=person.password)
    assert browser.status == 422
    assert "not set yet" in support.get(f"/admin/users/{person.sub}").text


def test_administrators_give_and_take_roles(app: Flask, admin: Browser, person: Person) -> None:
    admin.fill(f"/admin/users/{person.sub}", button="give-support", follow=True)
    assert "The role was given." in admin.text
    assert roles_of(app, person) == ["support"]
    admin.fill(button="take-support", follow=True)
    assert roles_of(app, person) == []
    assert press(admin, f"/admin/users/{person.sub}/roles", give="owner") == 422
    assert press(admin, f"/admin/users/{person.sub}/roles") == 422


def test_an_administrator_removes_second_factors_and_says_why(
    app: Flask, admin: Browser, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    assert 'id="reset-second-factor"' not in admin.get(f"/admin/users/{person.sub}").text
    add_totp(app, person)
    page = f"/admin/users/{person.sub}"
    admin.fill(page, button="reset-second-factor", reason=" ", follow=True)
    assert "Nothing was removed" in admin.text
    admin.fill(button="reset-second-factor", reason="seen in person", follow=True)
    assert "The second factors are removed" in admin.text
    assert not is_signed_in(browser)
    assert not rows(
        app, "SELECT 1 FROM totp_credentials JOIN users ON users.id = user_id WHERE sub = :s", s=person.sub
    )


def test_an_administrator_erases_an_account_after_typing_its_address(
    app: Flask, admin: Browser, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    page = f"/admin/users/{person.sub}"
    admin.fill(page, button="erase", email="another@people.test", follow=True)
    assert "Nothing was erased" in admin.text
    assert is_signed_in(browser)
    admin.fill(button="erase", email=person.email.upper(), reason="asked by post", follow=True)
    assert "The account will be erased on" in admin.text
    assert not is_signed_in(browser)
    admin.fill(button="keep", follow=True)
    assert "The account stays." in admin.text
    assert not rows(app, "SELECT 1 FROM users WHERE sub = :sub AND erase_at IS NOT NULL", sub=person.sub)


def test_a_persons_page_tells_everything_but_secrets(
    app: Flask, admin: Browser, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    Browser(app, ip="198.51.100.88").fill("/login", email=person.email, password="a wrong password, wholly")
    user = f"(SELECT id FROM users WHERE sub = '{person.sub}')"
    execute(
        app,
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, is_synced, name,"
        f" created_at) VALUES (gen_random_uuid(), {user}, decode('{uuid.uuid4().hex}', 'hex'), 'x', 0, '{{}}', true,"
        " 'Blue key', now())",
    )
    execute(
        app,
        "INSERT INTO linked_identities (id, user_id, provider, issuer, subject, name, created_at) VALUES"
        f" (gen_random_uuid(), {user}, 'github', 'https://github.test', '{uuid.uuid4()}', 'octo-ann', now())",
    )
    execute(
        app,
        "INSERT INTO totp_credentials (id, user_id, seed_sealed, last_step, created_at, confirmed_at) VALUES"
        f" (gen_random_uuid(), {user}, 'the-sealed-seed', 0, now(), now())",
    )
    run_command(app, "users", "role", "add", person.email, "reviewer")
    text = admin.get(f"/admin/users/{person.sub}").text
    for word in (
        "Blue key",
        "github: octo-ann",
        "198.51.100.88",
        "Wrong password",
        "user.role_added",
        "user.created",
    ):
        assert word in text, word
    for secret in ("argon2", "the-sealed-seed", "secret_digest"):
        assert secret not in text
    assert not re.search(r'<input[^>]+type="password"', text), "staff never choose a password"


def test_what_a_person_did_stands_on_their_page(
    app: Flask, make_person: Callable[..., Person], person: Person
) -> None:
    boss = make_person(roles=["admin"])
    browser = sign_in(Browser(app), boss)
    browser.fill(f"/admin/users/{person.sub}", button="disable", reason="spam", follow=True)
    text = browser.get(f"/admin/users/{boss.sub}").text
    assert "What the person did" in text
    assert f"/admin/users/{person.sub}" in text.split('id="done-by"')[1]


def test_the_list_is_paged_without_gap_or_repetition(
    app: Flask, admin: Browser, make_person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.routes import users

    monkeypatch.setattr(users, "LISTED", 3)
    domain = f"d{uuid.uuid4().hex[:8]}.test"
    made = [make_person(email=f"p{number}@{domain}").email for number in range(8)]
    seen: list[str] = []
    admin.get("/admin/users", query_string={"q": f"@{domain}", "state": "active"})
    while True:
        seen += re.findall(rf">(p\d@{domain})</a>", admin.text)
        older = re.search(r'id="older" href="([^"]+)"', admin.text)
        if not older:
            break
        admin.get(older[1].replace("&amp;", "&"))
    assert seen == made[::-1]


def test_an_unknown_person_is_a_404(admin: Browser) -> None:
    assert admin.get(f"/admin/users/{uuid.uuid4()}").status_code == 404
    assert admin.get("/admin/users/nonsense").status_code == 404
    assert press(admin, f"/admin/users/{uuid.uuid4()}/disable") == 404
