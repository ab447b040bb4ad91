"""Blocks: who may not sign in for a while, by address, network or mail domain."""

import json
import uuid
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.account import linking_steps, passkey_doors
from tests.account.authenticator import Passkey
from tests.account.conftest import PASSWORD, Person, execute, is_signed_in, rows, side_by_side, sign_in
from tests.account.provider_server import ProviderServer
from tests.account.test_password_links import activated, link_in, mails_to
from tests.conftest import receive, run_command
from tests.pages import Browser, token_of

NETWORK, INSIDE, OUTSIDE = "203.0.113.0/24", "203.0.113.77", "198.51.100.77"


@pytest.fixture(autouse=True)
def _nobody_stays_blocked(app: Flask) -> Iterator[None]:
    yield
    execute(app, "DELETE FROM blocks")


def block(app: Flask, *arguments: str) -> str:
    result = run_command(app, "blocks", "add", *arguments, "--for", "1h", "--reason", "guessing", "--json")
    assert result.exit_code == 0, result.output
    made: str = json.loads(result.stdout)["id"]
    return made


def try_password(app: Flask, person: Person, ip: str) -> Browser:
    browser = Browser(app, ip=ip)
    browser.fill("/login", email=person.email, password=person.password)
    return browser


def reasons(app: Flask, ip: str) -> list[str]:
    found = rows(
        app, "SELECT failure_reason FROM login_events WHERE ip = CAST(:ip AS inet) ORDER BY id", ip=ip
    )
    return [row.failure_reason for row in found]


# -- what a block does -----------------------------------------------------------------------------------------


def test_nobody_signs_in_from_a_blocked_network_and_open_sessions_stay(app: Flask, person: Person) -> None:
    before = try_password(app, person, INSIDE)
    block(app, "--ip", NETWORK)
    refused = try_password(app, person, INSIDE)
    assert refused.status == 403
    assert "not possible from here" in refused.text
    assert not refused.cookie("id_session")
    assert reasons(app, INSIDE)[-1] == "throttled"
    assert is_signed_in(before)
    assert try_password(app, person, OUTSIDE).status == 303


def test_known_and_unknown_people_get_the_same_words(app: Flask, person: Person) -> None:
    block(app, "--ip", NETWORK)
    nobody = Person(sub="", email="nobody-here@people.test")
    wrong = Person(sub="", email=person.email, password="a wrong password, wholly")
    answers = {
        (browser.status, browser.text.split("name the number")[0].split("<h1>")[1])
        for browser in (try_password(app, who, INSIDE) for who in (person, nobody, wrong))
    }
    assert len(answers) == 1


def test_a_blocked_mail_domain_holds_for_its_people_wherever_they_are(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    domain = f"d{uuid.uuid4().hex[:8]}.test"
    inside = make_person(email=f"ann@{domain}")
    sub_domain = make_person(email=f"ann@mail.{domain}")
    block(app, "--domain", f"@{domain.upper()}.")
    assert try_password(app, inside, OUTSIDE).status == 403
    assert try_password(app, sub_domain, OUTSIDE).status == 303
    unknown = Person(sub="", email=f"nobody@{domain}")
    assert try_password(app, unknown, OUTSIDE).status == 403


def test_one_address_of_ipv6_is_blocked_and_its_neighbour_is_not(app: Flask, person: Person) -> None:
    block(app, "--ip", "2001:db8::1")
    assert try_password(app, person, "2001:db8::1").status == 403
    assert try_password(app, person, "2001:db8::2").status == 303


def test_no_passkey_opens_from_a_blocked_address(app: Flask, passkey: Passkey) -> None:
    made = block(app, "--ip", NETWORK)
    browser = passkey_doors.sign_in_with(Browser(app, ip=INSIDE), passkey)
    assert browser.status == 403
    assert not is_signed_in(browser)
    run_command(app, "blocks", "lift", made)
    assert is_signed_in(passkey_doors.sign_in_with(browser, passkey))


def test_no_linked_account_opens_from_a_blocked_address(
    app: Flask, browser: Browser, person: Person, provider: ProviderServer
) -> None:
    linking_steps.link(sign_in(browser, person), provider)
    made = block(app, "--ip", NETWORK)
    other = Browser(app, ip=INSIDE)
    linking_steps.sign_in_with(other, provider)
    assert not is_signed_in(other)
    assert "throttled" in reasons(app, INSIDE)
    run_command(app, "blocks", "lift", made)
    linking_steps.sign_in_with(other, provider)
    assert is_signed_in(other)


def test_no_second_step_is_finished_from_an_address_that_was_blocked_meanwhile(
    app: Flask, person: Person, passkey: Passkey
) -> None:
    browser = Browser(app, ip=INSIDE)
    browser.fill("/login", email=person.email, password=person.password)
    assert browser.location.startswith("/login/second-factor")
    path, answers = "/login/second-factor", "/login/second-factor/passkey"
    asked = passkey_doors.ask(browser, path, answers)
    answer = passkey_doors.Authenticator().answer(passkey, asked.options)
    browser.get(path)
    data = {"csrf_token": token_of(browser), "ticket": asked.ticket}
    block(app, "--ip", NETWORK)
    assert browser.post(answers, {**data, "passkey": json.dumps(answer)}).status_code == 403
    assert not is_signed_in(browser)


def test_a_blocked_address_enrols_nobody_and_the_ticket_stays_good(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    made = block(app, "--ip", NETWORK)
    browser = Browser(app, ip=INSIDE)
    browser.get("/enrol", query_string={"ticket": enrol_ticket(application_id=application_id)}, follow=True)
    browser.fill(password=PASSWORD)
    assert browser.status == 403
    assert not rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)
    assert run_command(app, "blocks", "lift", made).exit_code == 0
    browser.fill("/enrol", password=PASSWORD)
    assert browser.status == 303


def test_a_blocked_address_sets_no_password_and_the_link_stays_good(app: Flask) -> None:
    event = activated()
    assert receive(app, event, "onboarding") == "handled"
    [mail] = mails_to(app, event.email)
    made = block(app, "--ip", NETWORK)
    browser = Browser(app, ip=INSIDE)
    browser.fill(link_in(mail), password=PASSWORD)
    assert browser.status == 403
    query = "SELECT 1 FROM password_credentials JOIN users ON users.id = user_id WHERE email = :email"
    assert not rows(app, query, email=event.email)
    run_command(app, "blocks", "lift", made)
    browser.fill(link_in(mail), password=PASSWORD)
    assert browser.status == 303


def test_a_blocked_address_resets_no_password_and_the_link_stays_good(app: Flask, person: Person) -> None:
    from services.account.flows.password_links import send_password_link

    with app.app_context():
        assert send_password_link(sub=person.sub) in ("first", "reset")
    made = block(app, "--ip", NETWORK)
    browser = Browser(app, ip=INSIDE)
    [mail] = mails_to(app, person.email)
    browser.fill(link_in(mail), password="another long green kettle")
    assert browser.status == 403
    assert try_password(app, person, OUTSIDE).status == 303, "the old one is good still"
    run_command(app, "blocks", "lift", made)
    browser.fill(link_in(mail), password="another long green kettle")
    assert browser.status == 303


def test_a_block_ends_by_itself(app: Flask, person: Person) -> None:
    block(app, "--ip", NETWORK)
    assert try_password(app, person, INSIDE).status == 403
    execute(app, "UPDATE blocks SET expires_at = now() - interval '1 second'")
    assert try_password(app, person, INSIDE).status == 303
    assert "Nobody is blocked." in run_command(app, "blocks", "list").output


# -- what cannot be blocked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3", "127.0.0.1", "10.1.2.3", "192.168.0.0/16", "::1", "fd00::/8",
        "::ffff:10.0.0.1", "nonsense", "203.0.113.0/33", "203.0.113.0/-1", "203.0.113.0/x", "",
    ],
)  # fmt: skip
def test_what_would_keep_out_everybody_or_ourselves_is_refused(app: Flask, network: str) -> None:
    result = run_command(app, "blocks", "add", "--ip", network, "--for", "1h", "--reason", "x")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert not rows(app, "SELECT 1 FROM blocks")


def test_our_own_networks_are_blocked_when_forced_and_everything_never(app: Flask) -> None:
    assert block(app, "--ip", "10.9.0.0/16", "--force")
    forced = run_command(app, "blocks", "add", "--ip", "0.0.0.0/0", "--for", "1h", "--reason", "x", "--force")
    assert forced.exit_code == 1


@pytest.mark.parametrize(
    "domain", ["", "localhost", "a b.test", "evil.test\n", "*.test", "a@b@c.test", "..test"]
)
def test_what_is_no_mail_domain_is_refused(app: Flask, domain: str) -> None:
    result = run_command(app, "blocks", "add", "--domain", domain, "--for", "1h", "--reason", "x")
    if domain != "evil.test\n":  # a line's end around it is no part of it
        assert result.exit_code == 1


def test_a_block_names_one_thing_has_a_reason_and_an_end(app: Flask) -> None:
    add = ("blocks", "add", "--for", "1h")
    assert run_command(app, *add, "--reason", "x").exit_code == 1
    both = run_command(app, *add, "--reason", "x", "--ip", NETWORK, "--domain", "a.test")
    assert both.exit_code == 1
    assert run_command(app, *add, "--reason", "  ", "--ip", NETWORK).exit_code == 1
    too_long = run_command(app, "blocks", "add", "--ip", NETWORK, "--for", "400d", "--reason", "x")
    assert too_long.exit_code == 1
    assert "365 days" in too_long.output


# -- commands and pages ----------------------------------------------------------------------------------------


def test_blocks_are_listed_and_lifted_once_and_audited(app: Flask) -> None:
    made = block(app, "--ip", "203.0.113.9/24")
    [listed] = json.loads(run_command(app, "blocks", "list", "--json").output)
    assert (listed["blocked"], listed["reason"]) == (NETWORK, "guessing")
    assert listed["created_by"].startswith("command:")
    assert "Lifted" in run_command(app, "blocks", "lift", made).output
    assert "had ended before" in run_command(app, "blocks", "lift", made).output
    entries = json.loads(run_command(app, "audit", "list", "--target", f"block:{made}", "--json").output)
    assert [entry["action"] for entry in entries] == ["block.lifted", "block.added"]
    assert entries[1]["reason"] == "guessing"
    assert run_command(app, "blocks", "lift", str(uuid.uuid4())).exit_code == 1
    assert run_command(app, "blocks", "lift", "nonsense").exit_code == 2


def test_a_block_is_lifted_once_by_people_side_by_side(app: Flask) -> None:
    from services.account.flows.blocks import lift_block

    made = uuid.UUID(block(app, "--ip", NETWORK))

    def lift() -> bool:
        with app.app_context():
            return lift_block(block_id=made)

    assert sorted(side_by_side(*[lift] * 4)) == [False, False, False, True]


@pytest.mark.parametrize(
    ("roles", "sees", "changes"),
    [([], 403, 403), (["reviewer"], 403, 403), (["support"], 200, 403), (["admin"], 200, 303)],
)
def test_support_sees_blocks_and_administrators_change_them(
    app: Flask, make_person: Callable[..., Person], roles: list[str], sees: int, changes: int
) -> None:
    browser = sign_in(Browser(app), make_person(roles=roles))
    made = block(app, "--ip", "203.0.113.200")
    assert browser.get("/admin/users/blocks").status_code == sees
    browser.get("/account/sessions")
    data = {"csrf_token": token_of(browser), "what": NETWORK, "hours": "1", "reason": "guessing"}
    assert browser.post("/admin/users/blocks", data).status_code == changes
    assert browser.post(f"/admin/users/blocks/{made}/lift", data).status_code == changes
    assert browser.post("/admin/users/blocks", {"what": NETWORK}).status_code == 400, "no token"
    assert browser.post(f"/admin/users/blocks/{made}/lift", {}).status_code == 400, "no token"


def test_an_administrator_blocks_the_address_of_an_event_and_lifts_it(
    app: Flask, make_person: Callable[..., Person], person: Person
) -> None:
    Browser(app, ip=INSIDE).fill("/login", email=person.email, password="a wrong password, wholly")
    admin = sign_in(Browser(app), make_person(roles=["admin"]))
    text = admin.get(f"/admin/users/{person.sub}").text
    assert f'href="/admin/users/blocks?what={INSIDE}"' in text
    admin.get(f"/admin/users/blocks?what={INSIDE}")
    assert f'value="{INSIDE}"' in admin.text
    admin.fill(button="block", reason="guessing", follow=True)
    assert f"<code>{INSIDE}/32</code>" in admin.text
    assert try_password(app, person, INSIDE).status == 403
    admin.fill(button="lift", follow=True)
    assert "Nobody is blocked." in admin.text
    assert try_password(app, person, INSIDE).status == 303


def test_nobody_keeps_themselves_out_by_the_page(app: Flask, make_person: Callable[..., Person]) -> None:
    admin = sign_in(Browser(app, ip=INSIDE), make_person(roles=["admin"]))
    for what in (INSIDE, NETWORK, "people.test"):
        admin.fill("/admin/users/blocks", button="block", what=what, reason="oops")
        assert admin.status == 422, what
        assert "keep yourself out" in admin.text
        assert f'value="{what}"' in admin.text, "what was entered is kept"
    admin.fill("/admin/users/blocks", button="block", what="<b>bold</b>", reason="")
    assert admin.status == 422
    assert "<b>bold" not in admin.text
    assert not rows(app, "SELECT 1 FROM blocks")
