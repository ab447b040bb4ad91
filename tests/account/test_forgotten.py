"""A forgotten password: asked for, answered by a mailed link, replaced. SECURITY.md section 3 names most of these."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.guard import single_use
from libs.messaging.events import AccessRevoked, MailRequested, UserChanged
from libs.service import parts_of
from libs.settings import SettingsError
from services.account.settings import AccountSettings
from tests.account.conftest import (
    PASSWORD,
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
    token_in,
)
from tests.conftest import receive, recorded
from tests.pages import Browser

NEW_PASSWORD = "yellow umbrella over the quiet river"


def answer(app: Flask) -> None:
    """What the worker does, a moment after somebody asked."""
    with app.app_context():
        parts_of(app).tasks.functions["account.answer_password_requests"]()


def ask(app: Flask, email: str, *, ip: str = "127.0.0.1") -> Browser:
    browser = Browser(app, ip=ip)
    browser.fill("/password/forgot", email=email)
    answer(app)
    return browser


def mailed_link(app: Flask, email: str) -> str:
    ask(app, email)
    return link_in(mails_to(app, email, "reset_password")[-1])


def age(app: Flask, sub: str, minutes: int) -> None:
    """Let time pass for a person's links."""
    execute(
        app,
        "UPDATE password_links l SET created_at = l.created_at - make_interval(mins => :minutes),"
        " expires_at = l.expires_at - make_interval(mins => :minutes)"
        " FROM users WHERE users.id = user_id AND sub = :sub",
        minutes=minutes,
        sub=sub,
    )


def add_totp(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO totp_credentials (id, user_id, seed_sealed, last_step, created_at, confirmed_at)"
        " SELECT :id, id, 'x', 0, now(), now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        sub=person.sub,
    )


def add_passkey(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, is_synced, name,"
        " created_at) SELECT :id, id, :key, 'x', 0, '{}', false, 'Key', now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        key=uuid.uuid4().bytes,
        sub=person.sub,
    )


def link_provider(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO linked_identities (id, user_id, provider, issuer, subject, name, created_at)"
        " SELECT :id, id, 'github', 'https://github.test', :subject, 'ann', now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        subject=str(uuid.uuid4()),
        sub=person.sub,
    )


@pytest.fixture
def member(make_person: Callable[..., Person]) -> Person:
    """Somebody whose address is proven."""
    return make_person(is_email_verified=True, locale="ru")


@pytest.fixture
def link(app: Flask, member: Person) -> str:
    return mailed_link(app, member.email)


# -- asking ----------------------------------------------------------------------------------------------------


def test_the_way_from_the_sign_in_page_to_a_new_password(
    app: Flask, browser: Browser, member: Person
) -> None:
    assert 'href="/password/forgot"' in browser.get("/login").text
    browser.fill("/password/forgot", email=f" {member.email.upper()} ")
    assert (browser.status, browser.location) == (303, "/password/forgot?sent=yes")
    assert "is on its way" in browser.get(browser.location).text
    assert not mails_to(app, member.email)
    answer(app)
    [mail] = mails_to(app, member.email)
    assert (mail.template, mail.locale) == ("reset_password", "ru")
    assert mail.context["link"].startswith("http://localhost:8000/password/reset?token=")
    browser.fill(link_in(mail), password=NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")
    assert is_signed_in(browser)
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd"], "1")
    sign_in(Browser(app), Person(sub=member.sub, email=member.email, password=NEW_PASSWORD))
    late = Browser(app)
    late.fill("/login", email=member.email, password=member.password)
    assert late.status == 422


class Work:
    """The statements and hashes that a request cost."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.hashes = 0


@contextmanager
def counted(app: Flask) -> Iterator[Work]:
    work, here, passwords = Work(), threading.get_ident(), app.extensions["passwords"]
    real = passwords._hasher

    class Counting:
        def verify(self, *arguments: object) -> object:
            work.hashes += 1
            return real.verify(*arguments)

        def hash(self, *arguments: object) -> object:
            work.hashes += 1
            return real.hash(*arguments)

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if threading.get_ident() == here:
            work.statements.append(statement)

    with app.app_context():
        engine = parts_of(app).db.engine
    passwords._hasher = Counting()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield work
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
        passwords._hasher = real


def test_known_and_unknown_addresses_get_the_same_answer_for_the_same_work(
    app: Flask, member: Person, make_person: Callable[..., Person]
) -> None:
    closed = make_person()
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=closed.sub)
    answers = []
    for email in (member.email, closed.email, f"nobody-{uuid.uuid4().hex[:10]}@people.test"):
        browser = Browser(app)
        browser.get("/password/forgot")
        with counted(app) as work:
            browser.fill(email=email)
        headers = sorted((name, value) for name, value in browser.page.headers if name != "X-Request-ID")
        answers.append((browser.status, browser.text, headers, work.statements, work.hashes))
        assert browser.status == 303
        page = browser.get(browser.location)
        assert email not in page.text
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][4] == 0
    assert len(answers[0][3]) == 1
    assert not [name for name, _ in answers[0][2] if name == "Set-Cookie"]


def test_nothing_is_mailed_where_nobody_has_the_address_or_the_account_is_disabled(
    app: Flask, person: Person
) -> None:
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    nobody = f"nobody-{uuid.uuid4().hex[:10]}@people.test"
    for email in (person.email, nobody):
        ask(app, email)
        assert not mails_to(app, email)
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_what_was_typed_waits_sealed(app: Flask, member: Person) -> None:
    Browser(app).fill("/password/forgot", email=member.email)
    [request] = rows(app, "SELECT t::text AS whole FROM password_requests t")
    assert member.email not in request.whole
    answer(app)
    assert len(mails_to(app, member.email)) == 1


def test_a_request_whose_key_is_gone_holds_up_nobody(app: Flask, member: Person) -> None:
    execute(
        app,
        "INSERT INTO password_requests (id, sealed_email, locale, created_at) VALUES (:id, 'old:xxxx', 'en', now())",
        id=uuid.UUID(int=1),
    )
    ask(app, member.email)
    assert len(mails_to(app, member.email)) == 1
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_two_workers_side_by_side_answer_each_request_once(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    people = [make_person() for _ in range(5)]
    for person in people:
        Browser(app).fill("/password/forgot", email=person.email)
    results = side_by_side(*[lambda: answer(app)] * 4)
    assert results == [None] * 4
    assert [len(mails_to(app, person.email)) for person in people] == [1] * 5


@pytest.mark.parametrize(
    "email", ["", "nobody", "a b@people.test", "x" * 300 + "@people.test", "a@b\r\nBcc: c@d"]
)
def test_what_cannot_be_an_address_is_said_so(app: Flask, browser: Browser, email: str) -> None:
    browser.fill("/password/forgot", email=email)
    assert browser.status == 422
    assert "does not look like an e-mail address" in browser.text
    assert not rows(app, "SELECT 1 FROM password_requests")


def test_asking_goes_on_without_redis_and_the_sweep_answers(
    app: Flask, member: Person, redis_away: Callable[[], None]
) -> None:
    browser = Browser(app)
    browser.fill("/password/forgot", email=member.email)
    assert browser.status == 303
    redis_away()
    answer(app)
    assert len(mails_to(app, member.email)) == 1


# -- a stranger at the form ------------------------------------------------------------------------------------


def test_a_stranger_can_neither_flood_the_mailbox_nor_end_the_link_that_its_owner_is_about_to_use(
    app: Flask, member: Person, link: str
) -> None:
    spellings = [member.email, member.email.upper(), member.email.replace("a", "\uff41")]
    for number in range(12):
        stranger = ask(app, spellings[number % 3], ip=f"198.51.100.{number}")
        assert stranger.location == "/password/forgot?sent=yes"
    assert len(mails_to(app, member.email)) == 1
    owner = Browser(app)
    owner.fill(link, password=NEW_PASSWORD)
    assert owner.status == 303


def test_a_stranger_can_never_lock_a_person_out_of_a_reset(app: Flask, member: Person) -> None:
    for _ in range(18):  # three hours of somebody asking every ten minutes
        ask(app, member.email)
        [newest] = mails_to(app, member.email)[-1:]
        page = Browser(app).get(link_in(newest))
        assert page.status_code == 200
        age(app, member.sub, 10)
    assert len(mails_to(app, member.email)) == 18  # six an hour
    last = link_in(mails_to(app, member.email)[-1])
    owner = Browser(app)
    owner.fill(last, password=NEW_PASSWORD)
    assert owner.status == 303


def test_an_account_is_mailed_only_so_many_links_an_hour_without_telling(app: Flask, member: Person) -> None:
    for _ in range(9):
        stranger = ask(app, member.email)
        assert stranger.location == "/password/forgot?sent=yes"
        execute(
            app,
            "UPDATE password_links SET used_at = now() FROM users WHERE users.id = user_id AND sub = :sub",
            sub=member.sub,
        )
    assert len(mails_to(app, member.email)) == 6


def test_one_address_of_the_network_cannot_ask_for_everybody(app: Flask) -> None:
    browser = Browser(app, ip="203.0.113.90")
    browser.get("/password/forgot")
    statuses = []
    for number in range(31):
        browser.fill("/password/forgot", email=f"n{number}@people.test")
        statuses.append(browser.status)
    assert statuses == [303] * 30 + [429]
    assert int(browser.page.headers["Retry-After"]) > 0
    other = Browser(app, ip="203.0.113.9")
    other.fill("/password/forgot", email="n1@people.test")
    assert other.status == 303


def test_two_hundred_guesses_at_one_account_do_not_stand_in_the_way_of_its_reset(
    app: Flask, member: Person
) -> None:
    for number in range(30):
        guesser = Browser(app, ip=f"198.51.100.{number + 1}")
        guesser.fill("/login", email=member.email, password="a wrong password, wholly")
    assert guesser.status == 429
    owner = Browser(app, ip="192.0.2.7")
    owner.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert owner.status == 303


# -- the link --------------------------------------------------------------------------------------------------


def test_looking_at_the_link_never_spends_it(app: Flask, link: str) -> None:
    for method in ("GET", "HEAD", "GET"):
        scanner = Browser(app)
        scanner.open(link, method=method)
        assert scanner.status == 200
        assert scanner.page.headers["Referrer-Policy"] == "no-referrer"
        assert scanner.page.headers["Cache-Control"] == "no-store"
        assert (
            "Set-Cookie" not in scanner.page.headers or "id_session" not in scanner.page.headers["Set-Cookie"]
        )
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303


def test_its_page_brings_nothing_from_third_parties(app: Flask, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    assert not re.findall(r'(?:src|href)="(?!/|#)', browser.text)
    assert "script-src 'self'" in browser.page.headers["Content-Security-Policy"]


def test_a_used_link_is_refused(app: Flask, link: str) -> None:
    Browser(app).fill(link, password=NEW_PASSWORD)
    late = Browser(app)
    late.get(link)
    assert late.status == 410
    assert "/password/forgot" in late.text


def test_a_superseded_link_is_refused_at_use(app: Flask, member: Person, link: str) -> None:
    slow = Browser(app)
    slow.get(link)
    age(app, member.sub, 11)
    newer = mailed_link(app, member.email)
    assert newer != link
    slow.fill(password=NEW_PASSWORD)
    assert slow.status == 410
    assert not is_signed_in(slow)
    slow.fill(newer, password=NEW_PASSWORD)
    assert slow.status == 303


def test_an_expired_link_is_refused_at_use_and_a_fresh_one_is_a_press_away(
    app: Flask, member: Person, link: str
) -> None:
    browser = Browser(app)
    browser.get(link)
    age(app, member.sub, 31)
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 410
    assert "has expired" in browser.text
    browser.fill(button="fresh-link")
    assert browser.status == 200
    fresh = link_in(mails_to(app, member.email, "reset_password")[-1])
    assert fresh != link
    assert Browser(app).get(link).status_code == 410
    browser.fill(fresh, password=NEW_PASSWORD)
    assert browser.status == 303


def test_a_link_of_one_kind_never_works_as_the_other(app: Flask, member: Person, link: str) -> None:
    token = token_in(link)
    execute(
        app,
        "UPDATE password_links SET used_at = NULL, purpose = 'reset' WHERE token_digest = :digest",
        digest=single_use.digest(token),
    )
    wrong_page = Browser(app)
    assert wrong_page.get(f"/password/set?token={token}").status_code == 410
    wrong_page.get(link)
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', wrong_page.text)
    assert csrf
    wrong_page.post(f"/password/set?token={token}", {"csrf_token": csrf[1], "password": NEW_PASSWORD})
    assert wrong_page.status == 410
    wrong_page.post(f"/account/not-me?token={token}", {"csrf_token": csrf[1]})
    assert wrong_page.status == 410
    execute(
        app,
        "UPDATE password_links SET purpose = 'first' WHERE token_digest = :digest",
        digest=single_use.digest(token),
    )
    wrong_page.post(link, {"csrf_token": csrf[1], "password": NEW_PASSWORD})
    assert wrong_page.status == 410
    sign_in(Browser(app), member)


def test_the_link_used_many_times_at_once_sets_one_password(app: Flask, link: str) -> None:
    browsers = [Browser(app) for _ in range(5)]
    for browser in browsers:
        browser.get(link)
    words = ("one", "two", "red", "sea", "owl")
    side_by_side(
        *(
            lambda b=b, w=w: b.fill(password=f"yellow umbrella by the river {w}")
            for b, w in zip(browsers, words, strict=True)
        )
    )
    assert sorted(browser.status for browser in browsers) == [303, 410, 410, 410, 410]
    assert sum(is_signed_in(browser) for browser in browsers) == 1


def test_links_carry_the_configured_origin_whatever_the_host_header_says(app: Flask, member: Person) -> None:
    browser = Browser(app)
    browser.get("/password/forgot")
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', browser.text)
    assert csrf
    browser.post(
        "/password/forgot",
        {"csrf_token": csrf[1], "email": member.email},
        headers={"Host": "evil.test", "X-Forwarded-Host": "evil.test"},
    )
    answer(app)
    for mail in mails_to(app, member.email):
        assert mail.context["link"].startswith("http://localhost:8000/")


def test_a_refused_password_leaves_the_link_good_and_is_not_shown_again(app: Flask, link: str) -> None:
    browser = Browser(app)
    for password in ("short", "qwertyuiopasdfgh", "x" * 1001):
        browser.fill(link, password=password)
        assert browser.status == 422
        assert password not in browser.text
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 303


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "%00", "\ud83d"])
def test_unknown_and_mangled_tokens_get_a_page_that_helps(browser: Browser, token: str) -> None:
    browser.get("/password/reset", query_string={"token": token.encode("utf-8", "surrogatepass")})
    assert browser.status == 410
    assert "/password/forgot" in browser.text


def test_a_disabled_account_cannot_use_its_link(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=member.sub)
    browser.fill(password=NEW_PASSWORD)
    assert browser.status == 410


def test_resetting_needs_the_forms_token_and_our_origin(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.post(link, {"password": NEW_PASSWORD})
    assert browser.status == 400
    assert NEW_PASSWORD not in browser.text
    browser.get(link)
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', browser.text)
    assert csrf
    data = {"csrf_token": csrf[1], "password": NEW_PASSWORD}
    browser.post(link, data, headers={"Origin": "https://evil.test"})
    assert browser.status == 403
    sign_in(browser, member)


# -- after a password reset ------------------------------------------------------------------------------------


def test_all_earlier_sessions_and_refresh_tokens_end(app: Flask, member: Person, link: str) -> None:
    before = [sign_in(Browser(app), member) for _ in range(2)]
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303
    assert [is_signed_in(one) for one in before] == [False, False]
    assert is_signed_in(browser)
    [event] = [e for e in recorded(app, AccessRevoked) if e.sub == member.sub]
    assert (event.sids, event.cause) == (None, "password_changed")
    assert parts_of(app).redis.exists(f"revoked:sub:{member.sub}")


def test_a_notice_is_mailed(app: Flask, member: Person, link: str) -> None:
    Browser(app).fill(link, password=NEW_PASSWORD)
    [mail] = mails_to(app, member.email, "password_changed")
    assert mail.context["not_me"].startswith("http://localhost:8000/account/not-me?token=")
    assert mail.locale == "ru"


@pytest.mark.parametrize("add", [add_totp, add_passkey])
def test_the_second_factor_is_kept_and_still_asked(
    app: Flask, member: Person, add: Callable[[Flask, Person], None]
) -> None:
    add(app, member)
    browser = Browser(app)
    browser.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert browser.status == 303
    assert browser.location.startswith("/login/second-factor?")
    assert not cookie_of(browser)
    assert not is_signed_in(browser)
    query = "SELECT hash FROM password_credentials JOIN users ON id = user_id WHERE sub = :sub"
    assert rows(app, query, sub=member.sub)[0].hash


def test_what_was_begun_before_cannot_be_finished_after_it(app: Flask, member: Person, link: str) -> None:
    execute(
        app,
        "INSERT INTO email_changes (id, user_id, email, token_digest, created_at, expires_at)"
        " SELECT :id, id, 'thief@people.test', :id, now(), now() + interval '1 day' FROM users WHERE sub = :sub",
        id=str(uuid.uuid4()),
        sub=member.sub,
    )
    Browser(app).fill(link, password=NEW_PASSWORD)
    query = "SELECT used_at FROM email_changes c JOIN users u ON u.id = c.user_id WHERE sub = :sub"
    assert [row.used_at is None for row in rows(app, query, sub=member.sub)] == [False]


def test_the_address_counts_as_proven_and_the_audit_tells_the_story(app: Flask, person: Person) -> None:
    Browser(app).fill(mailed_link(app, person.email), password=NEW_PASSWORD)
    assert [e.claims["email_verified"] for e in recorded(app, UserChanged) if e.sub == person.sub] == [
        False,
        True,
    ]
    entries = rows(
        app,
        "SELECT action, actor FROM audit_entries WHERE target = :target ORDER BY created_at, id",
        target=f"user:{person.sub}",
    )
    assert ("password.link_asked_for", "task:answer_password_requests") in entries
    assert ("password.reset", f"user:{person.sub}") in entries


def test_an_account_that_never_had_a_password_gets_its_first_link_again(app: Flask) -> None:
    from tests.account.test_password_links import activated

    event = activated()
    receive(app, event, "onboarding")
    [first] = mails_to(app, event.email)
    ask(app, event.email)
    assert len(mails_to(app, event.email)) == 1  # the one it has is young
    sub = rows(app, "SELECT sub::text FROM users WHERE email = :email", email=event.email)[0].sub
    age(app, sub, 11)
    ask(app, event.email)
    _, again = mails_to(app, event.email)
    assert (first.template, again.template) == ("set_password", "set_password")
    browser = Browser(app)
    browser.fill(link_in(again), password=NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")


def test_a_person_with_a_passkey_alone_gets_a_password_by_the_same_way(app: Flask, member: Person) -> None:
    execute(
        app,
        "DELETE FROM password_credentials USING users WHERE users.id = user_id AND sub = :sub",
        sub=member.sub,
    )
    add_passkey(app, member)
    browser = Browser(app)
    browser.fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert browser.location.startswith("/login/second-factor?")


# -- whoever registered another's address first ----------------------------------------------------------------


def things_of(app: Flask, person: Person) -> int:
    return sum(
        len(
            rows(
                app, f"SELECT 1 FROM {table} JOIN users u ON u.id = user_id WHERE sub = :sub", sub=person.sub
            )
        )
        for table in ("passkeys", "totp_credentials", "linked_identities")
    )


def test_whoever_registered_anothers_address_first_loses_everything_there_when_its_owner_proves_it(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    squatted = make_person(is_email_verified=False)
    squatter = sign_in(Browser(app), squatted)
    for add in (add_totp, add_passkey, link_provider):
        add(app, squatted)
    owner = Browser(app)
    owner.fill(mailed_link(app, squatted.email), password=NEW_PASSWORD)
    assert (owner.status, owner.location) == (303, "/account")  # the squatter's second factor asks nothing
    assert is_signed_in(owner)
    assert not is_signed_in(squatter)
    assert things_of(app, squatted) == 0
    [entry] = rows(
        app,
        "SELECT before FROM audit_entries WHERE action = 'user.taken_over' AND target = :target",
        target=f"user:{squatted.sub}",
    )
    assert entry.before["passkeys"] == 1


def test_an_address_that_was_proven_before_keeps_what_is_its_owners(app: Flask, member: Person) -> None:
    for add in (add_totp, add_passkey, link_provider):
        add(app, member)
    Browser(app).fill(mailed_link(app, member.email), password=NEW_PASSWORD)
    assert things_of(app, member) == 3


# -- upkeep ----------------------------------------------------------------------------------------------------


def test_no_log_line_and_no_column_holds_what_is_secret(
    app: Flask, member: Person, log_text: Callable[[], str]
) -> None:
    link = mailed_link(app, member.email)
    browser = Browser(app)
    browser.fill(link, password=NEW_PASSWORD)
    assert browser.status == 303
    text = log_text()
    assert "password_request_answered" in text
    for secret in (token_in(link), quote(token_in(link)), NEW_PASSWORD, member.email):
        assert secret not in text
    for table in (
        "password_links",
        "password_requests",
        "audit_entries",
        "outbox_events",
        "security_notices",
    ):
        found = rows(app, f"SELECT 1 FROM {table} t WHERE t::text LIKE :token", token=f"%{token_in(link)}%")
        assert not found, table


def test_the_mail_is_of_no_use_once_its_link_has_expired(app: Flask, member: Person, link: str) -> None:
    [mail] = mails_to(app, member.email, "reset_password")
    assert isinstance(mail, MailRequested)
    assert mail.expires_at is not None
    assert mail.expires_at < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 31 * 60))


@pytest.mark.parametrize(("name", "value"), [("RESET_MAIL_INTERVAL", "1800"), ("RESET_MAILS_PER_HOUR", "0")])
def test_settings_that_would_lock_people_out_stop_the_start_by_name(
    environment: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        AccountSettings.load({**environment, name: value})


def test_the_old_password_is_never_asked_for_and_never_mailed(app: Flask, member: Person, link: str) -> None:
    browser = Browser(app)
    browser.get(link)
    assert "old_password" not in browser.text
    assert PASSWORD not in str(mails_to(app, member.email))
