"""After a restore: what was there is there, and nothing lives again that may have ended since the backup."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from gateway.backup import making, restoring
from gateway.backup.manifest import BackupError
from gateway.backup.places import Place
from libs import restoring as after
from libs.database import utcnow
from libs.messaging.events import AccountOpened, MailRequested
from libs.people.sessions import secret_digest
from libs.service import parts_of
from services.notification.flows.delivery import mail_health
from tests.account.conftest import PASSWORD, is_signed_in
from tests.conftest import envelope_of, receive, run_command, sign_in_copy
from tests.gateway.backups import (
    Apps,
    all_apps,
    databases,
    forget_keys,
    place_in,
    restored,
    scalar,
    stopped,
)
from tests.notification.conftest import request_of
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, error_of
from tests.onboarding import steps
from tests.pages import ORIGIN, Browser

ELSEWHERE = "a password of after the backup"


@dataclass
class World:
    """What was so when the backup was made, and what became of it since."""

    apps: Apps
    email: str
    browser: Browser
    """Where the person was signed in, and has signed out since."""
    staying: Browser
    """Where they are signed in still."""
    party: RelyingParty
    revoked: str
    """A refresh token that was revoked since."""
    living: str
    access_token: str
    kids: set[str]
    reset_link: str
    activation_link: str
    applicant: str
    """Whose application is not confirmed yet."""
    invitation_link: str
    mail: str
    """The deduplication key of a mail that waited."""
    folder: Path
    opened: dict[str, Any]
    """An event that onboarding had after its dump, and account before its own."""
    aside: str = ""


@pytest.fixture(scope="module")
def place(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_in(tmp_path_factory.mktemp("backups"))


@pytest.fixture(scope="module")
def world(make_app: Any, onboarding_app: Flask, place: Place) -> Iterator[World]:
    world = lived_through(all_apps(make_app), place)
    with restored(world.apps, place, world.folder) as world.aside, pytest.MonkeyPatch.context() as patch:
        patch.setattr(after, "LATE", timedelta())  # no real restore is as quick as this one
        yield world


def lived_through(apps: Apps, place: Place) -> World:
    """A day of the suite, with a backup in the middle of it whose four dumps are of different moments."""
    from services.account.flows.users import create_user

    email = f"ann-{uuid.uuid4().hex[:10]}@people.test"
    with apps["account"].app_context():
        create_user(email=email, name="Ann Lee", password=PASSWORD, is_email_verified=True)
    signed_in = []
    for _ in range(2):
        browser = Browser(apps["account"])
        browser.fill("/login", email=email, password=PASSWORD)
        assert browser.status == 303, browser.text
        signed_in.append(browser)
    party, tokens = a_client(apps["oidc"])
    mail = request_of()
    assert receive(apps["notification"], mail, "onboarding") == "handled"
    applicant = steps.approved(apps["onboarding"])
    invited = steps.invite(apps["onboarding"], uses="3")
    Browser(apps["account"]).fill("/password/forgot", email=email)
    world = World(
        apps=apps,
        email=email,
        browser=signed_in[0],
        staying=signed_in[1],
        party=party,
        revoked=tokens[0]["refresh_token"],
        living=tokens[1]["refresh_token"],
        access_token=tokens[1]["access_token"],
        kids=published(apps["oidc"]),
        reset_link=reset_link(apps["account"], email),
        activation_link=steps.link(apps["onboarding"], applicant, "activation_link"),
        applicant=steps.apply(apps["onboarding"]),
        invitation_link=invited["link"].removeprefix(ORIGIN),
        mail=mail.deduplication_key,
        folder=Path(),
        opened={},
    )
    with restoring.Programs(place.values) as programs:
        partial = making.begin(place.backups)
        programs.run("dump.sh", str(partial), "notification", "onboarding", "oidc")
        # Between the dumps somebody enrols: account tells, onboarding does it and confirms.
        world.opened = opened(apps, applicant)
        programs.run("dump.sh", str(partial), "account")
        world.folder = making.seal(partial, place.values)
    world.browser.fill("/logout", button="sign-out", follow=True)
    assert party.post("/oauth2/revoke", {"token": world.revoked}).status_code == 200
    page = Browser(apps["account"])
    page.fill(world.reset_link, password=ELSEWHERE)
    assert page.status == 303, page.text
    return world


def a_client(app: Flask) -> tuple[RelyingParty, list[dict[str, Any]]]:
    """A client, and the tokens that two people gave it."""
    from services.oidc.flows.clients import create_client

    with app.app_context():
        made = create_client(
            name="App", redirect_uris=[REDIRECT_URI], scopes=("openid", "profile", "email", "offline_access")
        )
        party = RelyingParty(app=app, client_id=made.client.client_id, secret=made.secret)
    tokens = []
    for _ in range(2):
        browser = Browser(app)
        sign_in_copy(browser, app)
        tokens.append(party.tokens(browser, scope="openid offline_access", prompt="consent"))
    return party, tokens


def reset_link(app: Flask, email: str) -> str:
    from services.account.flows.forgotten import answer_requests
    from tests.account.conftest import link_in, mails_to

    with app.app_context():
        answer_requests()
    return link_in(mails_to(app, email, "reset_password")[-1])


def published(app: Flask) -> set[str]:
    answer = Browser(app).get("/.well-known/jwks.json")
    return {key["kid"] for key in answer.json["keys"]}


def opened(apps: Apps, applicant: str) -> dict[str, Any]:
    event = AccountOpened(
        sub=str(uuid.uuid4()), application_id=steps.facts(apps["onboarding"], applicant)["id"]
    )
    account = parts_of(apps["account"])
    with apps["account"].app_context():
        with account.db.transaction():
            event_id = account.outbox.record(event)
        envelope = envelope_of(apps["account"], event, "account") | {"event_id": str(event_id)}
        account.outbox.confirm("onboarding", [str(event_id)])
    with apps["onboarding"].app_context():
        assert parts_of(apps["onboarding"]).inbox.receive(envelope) == "handled"
    assert steps.facts(apps["onboarding"], applicant)["state"] == "activated"
    return envelope | {"email": applicant}


def test_what_was_there_is_there(world: World) -> None:
    browser = Browser(world.apps["account"])
    browser.fill("/login", email=world.email, password=ELSEWHERE)
    assert browser.status == 422
    browser.fill("/login", email=world.email, password=PASSWORD)
    assert browser.status == 303
    assert is_signed_in(browser)


def test_nobody_is_signed_in_as_before(world: World) -> None:
    assert not is_signed_in(world.browser)
    assert not is_signed_in(world.staying)
    digest = secret_digest((world.staying.cookie("id_session") or "x").split(".")[0])
    cause = "SELECT end_cause FROM sign_in_sessions WHERE secret_digest = :digest"
    assert scalar(world.apps["account"], cause, digest=digest) in ("restored", None)


def test_no_refresh_token_of_before_is_taken(world: World) -> None:
    for token in (world.revoked, world.living):
        assert error_of(world.party.refresh(token)) == (400, "invalid_grant")
    assert world.party.introspect(world.living) == {"active": False}


def test_no_access_token_of_before_is_believed(world: World) -> None:
    assert world.party.userinfo(world.access_token).status_code == 401
    assert not published(world.apps["oidc"]) & world.kids


def test_a_link_that_was_used_since_opens_nothing(world: World) -> None:
    page = Browser(world.apps["account"])
    page.get(world.reset_link, follow=True)
    assert 'name="password"' not in page.text
    page = Browser(world.apps["onboarding"])
    page.get(world.activation_link, follow=True)
    assert 'id="activate"' not in page.text
    page = Browser(world.apps["onboarding"])
    page.get(world.invitation_link, follow=True)
    assert 'id="apply"' not in page.text


def test_people_are_asked_again_what_an_app_may_know(world: World) -> None:
    browser = Browser(world.apps["oidc"])
    sign_in_copy(browser, world.apps["oidc"])
    world.party.ask(browser, scope="openid profile")
    assert 'id="allow"' in browser.text
    assert scalar(world.apps["oidc"], "SELECT count(*) FROM consents") == 0


def test_what_a_subscriber_may_have_lost_is_sent_again_and_happens(world: World) -> None:
    """onboarding's dump was older than account's, so that it knew of no account; account had its confirmation."""
    onboarding, email = world.apps["onboarding"], world.opened["email"]
    assert steps.facts(onboarding, email)["state"] == "approved"
    waits = "SELECT count(*) FROM outbox_deliveries WHERE event_id = :id AND state IN ('pending', 'sent')"
    assert scalar(world.apps["account"], waits, id=world.opened["event_id"]) == 1
    with onboarding.app_context():
        for _ in range(2):
            assert parts_of(onboarding).inbox.receive(world.opened) == "handled"
    assert steps.facts(onboarding, email)["state"] == "activated"


def test_an_application_that_had_not_come_far_in_the_older_dump_is_activated_all_the_same(
    world: World,
) -> None:
    onboarding = world.apps["onboarding"]
    event = AccountOpened(
        sub=str(uuid.uuid4()), application_id=steps.facts(onboarding, world.applicant)["id"]
    )
    lost = envelope_of(onboarding, event, "account") | {"occurred_at": world.opened["occurred_at"]}
    with onboarding.app_context():
        assert parts_of(onboarding).inbox.receive(lost) == "handled"
    assert steps.facts(onboarding, world.applicant)["state"] == "activated"


def test_an_application_that_is_younger_than_the_backup_parks_no_event(world: World) -> None:
    lost = {
        **envelope_of(
            world.apps["onboarding"], AccountOpened(sub="x", application_id=str(uuid.uuid4())), "account"
        )
    }
    lost["occurred_at"] = world.opened["occurred_at"]
    with world.apps["onboarding"].app_context():
        assert parts_of(world.apps["onboarding"]).inbox.receive(lost) == "handled"


def test_mail_that_waited_is_held_until_it_is_released(world: World) -> None:
    app = world.apps["notification"]
    state = "SELECT state FROM messages WHERE deduplication_key = :key"
    assert scalar(app, state, key=world.mail) == "held"
    old = request_of()
    envelope = envelope_of(app, old, "onboarding") | {"occurred_at": world.opened["occurred_at"]}
    with app.app_context():
        assert parts_of(app).inbox.receive(envelope) == "handled"
        parts_of(app).tasks.functions["notification.sweep_messages"]()
        parts_of(app).tasks.functions["notification.deliver"](str(uuid.uuid4()))
    new = request_of()
    assert receive(app, new, "onboarding") == "handled"
    assert scalar(app, state, key=old.deduplication_key) == "held"
    assert scalar(app, state, key=new.deduplication_key) == "queued"

    listed = run_command(app, "messages", "list", "--state", "held", "--json")
    assert len({row["id"] for row in json.loads(listed.stdout)}) >= 2
    held = scalar(app, "SELECT count(*) FROM messages WHERE state = 'held'")
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text("DELETE FROM attempts"))  # of other tests
    with app.app_context():
        assert mail_health().details == {"reason": "held"}
    staff = Browser(app)
    sign_in_copy(staff, app, roles=["support"])
    assert "Held since a restore" in staff.get("/admin/messages?state=held").text

    done = run_command(app, "messages", "release")
    assert (done.exit_code, done.stdout.strip()) == (0, f"Released: {held} message(s) that were held.")
    assert scalar(app, state, key=world.mail) == "queued"
    assert run_command(app, "messages", "release").stdout.startswith("Released: 0 ")


def test_mail_that_left_before_the_restore_is_forgotten_on_demand(world: World) -> None:
    app = world.apps["notification"]
    old: MailRequested = request_of()
    envelope = envelope_of(app, old, "onboarding") | {"occurred_at": world.opened["occurred_at"]}
    with app.app_context():
        assert parts_of(app).inbox.receive(envelope) == "handled"
    done = run_command(app, "messages", "release", "--forget", "--json")
    assert json.loads(done.stdout)["deleted"] >= 1
    assert scalar(app, "SELECT count(*) FROM messages WHERE state = 'held'") == 0


def test_each_service_says_in_its_audit_that_it_was_restored(world: World) -> None:
    for service, app in world.apps.items():
        listed = run_command(app, "audit", "list", "--target", f"service:{service}", "--json")
        entry = json.loads(listed.stdout)[-1]
        assert (entry["actor"], entry["action"]) == ("command:restore", "service.restored")
        assert entry["after"]["backup_of"] < utcnow().isoformat()


def test_the_command_asks_before_it_signs_everybody_out(world: World) -> None:
    """Whatever restored a database: each service has the command, and it may be run again."""
    app = world.apps["account"]
    browser = Browser(app)
    browser.fill("/login", email=world.email, password=PASSWORD)
    asked = run_command(app, "restored", input="n\n")
    assert asked.exit_code == 1
    assert "This ends all sessions" in asked.output
    assert is_signed_in(browser)
    done = run_command(app, "restored", "--yes", "--made-at", utcnow().isoformat(), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sessions ended"] >= 1
    assert not is_signed_in(browser)


@pytest.mark.soak
def test_databases_that_came_back_by_another_way_are_made_fit_where_they_are(
    world: World, place: Place
) -> None:
    app = world.apps["account"]
    browser = Browser(app)
    browser.fill("/login", email=world.email, password=PASSWORD)
    assert is_signed_in(browser)
    moment = utcnow() - timedelta(days=1)
    before = databases(world.apps)
    with stopped(world.apps):
        with pytest.raises(BackupError, match="say --yes, or CONFIRM=1"):
            restoring.settle(place, moment, is_sure=False)
        restoring.settle(place, moment, is_sure=True)
    forget_keys()
    assert databases(world.apps) == before
    assert not is_signed_in(browser)
    for service, app in world.apps.items():
        listed = run_command(app, "audit", "list", "--target", f"service:{service}", "--json")
        entry = json.loads(listed.stdout)[0]
        assert entry["after"]["backup_of"].startswith(f"{moment:%Y-%m-%d}")
        waits = "SELECT count(*) FROM outbox_deliveries WHERE state = 'sent'"
        assert scalar(app, waits) == 0, "what a database has to tell waits until its suite starts"


def test_what_was_there_before_stays_aside(world: World) -> None:
    aside = [name for name in databases(world.apps) if name.endswith(world.aside)]
    assert len(aside) == 4
    assert not [name for name in databases(world.apps) if name.endswith("_restoring")]


def test_the_age_of_the_last_backup_is_known_still(world: World) -> None:
    assert parts_of(world.apps["account"]).redis.get(making.BACKUP_KEY)
