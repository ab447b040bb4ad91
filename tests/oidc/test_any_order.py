"""What account tells the issuer ends in the same state in whatever order it comes, and however often."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import AccessRevoked, DataRequested, Event, UserChanged, UserErased
from services.oidc.extensions import db
from services.oidc.models import Consent, Grant, LogoutDelivery, Subject
from tests.any_order import Life, end_alike
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser


def snapshots(sub: str) -> list[Event]:
    """Somebody is renamed, disabled, and enabled again with a role."""
    states: list[tuple[str, list[str]]] = [
        ("active", []),
        ("active", []),
        ("disabled", []),
        ("active", ["support"]),
    ]
    return [
        UserChanged(
            sub=sub,
            version=version,
            status=status,
            roles=roles,
            claims={"name": f"Name {version}", "email": f"{sub}-{version}@people.test"},
            locale="en",
        )
        for version, (status, roles) in enumerate(states, start=2)
    ]


def kept(app: Flask, sub: str, sids: dict[str, str]) -> dict[str, Any]:
    """Everything that the issuer holds about the person, with words for what differs from one to the next."""
    with app.app_context(), db.transaction() as session:
        subject = session.scalars(sa.select(Subject).where(Subject.sub == sub)).one()
        grants = session.scalars(sa.select(Grant).where(Grant.sub == sub))
        told = session.execute(sa.select(LogoutDelivery.sid).where(LogoutDelivery.sub == sub)).all()
        return {
            "subject": (subject.version, subject.status, list(subject.roles), subject.claims.get("name")),
            "barred": subject.revoked_before > 0,
            "grants": sorted(
                (sids[grant.sid], grant.is_offline, grant.ended_at is not None) for grant in grants
            ),
            "consents": len(session.scalars(sa.select(Consent).where(Consent.sub == sub)).all()),
            # A token without a session is about all of them.
            "told": sorted({name for (sid,) in told for name in ([sids[sid]] if sid else sids.values())}),
        }


@pytest.fixture
def begin(
    app: Flask, make_client: Callable[..., RelyingParty]
) -> Callable[[Callable[[str, list[str]], list[Event]]], Callable[[], Life]]:
    """Makes people who are signed in twice, with an app at each and one that goes on without them."""
    client = make_client(backchannel_logout_uri="https://app.test/logout")

    def make(events: Callable[[str, list[str]], list[Event]]) -> Callable[[], Life]:
        def begin() -> Life:
            sub, sids = str(uuid.uuid4()), {}
            for name in ("first", "second"):
                browser = Browser(app)
                session = sign_in_copy(browser, app, sub=sub, auth_time=int(time.time()) - 5)
                sids[session.sid] = name
                client.tokens(browser, scope="openid email")
            client.tokens(browser, scope="openid email offline_access")
            return events(sub, list(sids)), lambda: kept(app, sub, sids)

        return begin

    return make


def test_snapshots_and_the_end_of_one_session(app: Flask, begin: Any) -> None:
    def events(sub: str, sids: list[str]) -> list[Event]:
        return [
            *snapshots(sub),
            AccessRevoked(sub=sub, sids=sids[:1], cause="sign_out", not_before=int(time.time())),
            DataRequested(request_id=str(uuid.uuid4()), sub=sub, emails=[], left={}),
        ]

    state = end_alike(app, begin(events))
    assert state["subject"] == (5, "active", ["support"], "Name 5")
    assert state["grants"] == [("first", False, True), ("second", False, False), ("second", True, False)]
    assert state["told"] == ["first"]


def test_the_ends_of_access_of_every_kind(app: Flask, begin: Any) -> None:
    def events(sub: str, sids: list[str]) -> list[Event]:
        now = int(time.time())
        return [
            *snapshots(sub),
            AccessRevoked(sub=sub, sids=None, cause="sessions_revoked", not_before=now - 3600),
            AccessRevoked(sub=sub, sids=sids[:1], cause="session_ended", not_before=now),
            AccessRevoked(sub=sub, sids=sids[1:], cause="password_changed", not_before=now),
            AccessRevoked(sub=sub, sids=None, cause="taken_over", not_before=now),
        ]

    state = end_alike(app, begin(events))
    assert all(has_ended for _, _, has_ended in state["grants"])
    assert (state["consents"], state["barred"]) == (0, True)


def test_an_erased_person_stays_forgotten(app: Flask, begin: Any) -> None:
    def events(sub: str, _sids: list[str]) -> list[Event]:
        return [
            *snapshots(sub),
            AccessRevoked(sub=sub, sids=None, cause="erased", not_before=int(time.time())),
            UserErased(sub=sub, emails=[f"{sub}@people.test"]),
        ]

    state = end_alike(app, begin(events))
    assert state["subject"][1:] == ("erased", [], None)
    assert (state["grants"], state["consents"], state["barred"]) == ([], 0, True)
