"""Logouts as staff see them: the list, what is parked and why, sending again; by page and by command."""

import itertools
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import first_uuid7, utcnow
from libs.observe.worker_health import what_waits
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows import logouts
from services.oidc.models import LogoutDelivery
from tests.conftest import run_command, sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_apps import rows
from tests.pages import Browser

PAGE = "/admin/clients/logouts"
Make = Callable[..., RelyingParty]


@pytest.fixture(autouse=True)
def _nothing_before(app: Flask) -> None:
    with app.app_context(), db.transaction() as session:
        session.execute(sa.delete(LogoutDelivery))


@pytest.fixture
def record(app: Flask, client: RelyingParty) -> Callable[..., uuid.UUID]:
    numbers = itertools.count()

    def record(**values: Any) -> uuid.UUID:
        usual = {
            # In the order of their making, also within a millisecond.
            "id": uuid.UUID(int=first_uuid7(utcnow()).int + next(numbers)),
            "client_id": client.client_id,
            "sub": "a-person",
            "cause": "sign_out",
        }
        with app.app_context(), db.transaction() as session:
            row = LogoutDelivery(**{**usual, **values})
            session.add(row)
            session.flush()
            made: uuid.UUID = row.id
        return made

    return record


@pytest.fixture
def support(app: Flask, browser: Browser) -> Browser:
    sign_in_copy(browser, app, roles=["support"])
    return browser


def state_of(app: Flask, delivery_id: uuid.UUID) -> tuple[str, int]:
    [row] = rows(app, "SELECT state, attempts FROM logout_deliveries WHERE id = :id", id=delivery_id)
    return row.state, row.attempts


def parked(record: Callable[..., uuid.UUID], **values: Any) -> uuid.UUID:
    return record(**{"state": "parked", "attempts": 40, "last_error": "status 503", **values})


# ---- the page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [[], ["reviewer"]])
def test_the_page_is_for_support_and_administrators(app: Flask, roles: list[str]) -> None:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=roles)
    assert browser.get(PAGE).status_code == 403
    sign_in_copy(browser, app, roles=["admin"])
    assert browser.get(PAGE).status_code == 200


def test_staff_see_what_became_of_each_and_why(
    app: Flask, support: Browser, record: Callable[..., uuid.UUID], make_client: Make
) -> None:
    assert "There are no such logouts." in support.get(PAGE).text
    other = make_client(name="<b>Other</b>")
    record(state="delivered", attempts=1, delivered_at=utcnow())
    record(state="queued", attempts=2, last_error="no answer in time")
    parked(record, client_id=other.client_id, cause="disabled")
    text = support.get(PAGE).text
    for words in ("Delivered", "no answer in time", "again at", "status 503", "The account was disabled"):
        assert words in text
    assert "&lt;b&gt;Other&lt;/b&gt;" in text
    assert "a-person" not in text
    assert "status 503" not in support.get(f"{PAGE}?state=queued").text
    assert "no answer in time" not in support.get(f"{PAGE}?client={other.client_id}").text
    assert "There are no such logouts." in support.get(f"{PAGE}?client=nobody").text


def test_a_long_list_goes_on(app: Flask, support: Browser, record: Callable[..., uuid.UUID]) -> None:
    for number in range(logouts.PAGE + 1):
        record(id=first_uuid7(utcnow() - timedelta(minutes=number)), last_error=f"error {number}.")
    first = support.get(PAGE).text
    assert "error 0." in first
    assert f"error {logouts.PAGE}." not in first
    older = first.partition('id="older" href="')[2].partition('"')[0]
    assert f"error {logouts.PAGE}." in support.get(older.replace("&amp;", "&")).text
    assert support.get(f"{PAGE}?before=nonsense").status_code == 200


def test_staff_send_one_again(app: Flask, support: Browser, record: Callable[..., uuid.UUID]) -> None:
    chosen, other = parked(record), parked(record)
    support.get(f"{PAGE}?state=parked")
    support.fill(button=f"retry-{chosen}", follow=True)
    assert "It is on its way again." in support.text
    assert (state_of(app, chosen), state_of(app, other)) == (("queued", 0), ("parked", 40))
    [entry] = rows(app, "SELECT actor FROM audit_entries WHERE target = :target", target=f"logout:{chosen}")
    assert entry.actor.startswith("user:")


def test_somebody_who_was_faster_is_told_of(
    app: Flask, support: Browser, record: Callable[..., uuid.UUID]
) -> None:
    chosen = parked(record)
    support.get(PAGE)
    assert run_command(app, "logouts", "retry", str(chosen)).exit_code == 0
    support.fill(button=f"retry-{chosen}", follow=True)
    assert "Somebody was faster" in support.text


def test_staff_send_all_of_a_client_again(
    app: Flask, support: Browser, record: Callable[..., uuid.UUID], make_client: Make, client: RelyingParty
) -> None:
    its, others = [parked(record) for _ in range(3)], parked(record, client_id=make_client().client_id)
    support.get(f"{PAGE}?state=parked&client={client.client_id}")
    support.fill(button="retry-parked", follow=True)
    assert [state_of(app, one)[0] for one in its] == ["queued"] * 3
    assert state_of(app, others)[0] == "parked"


def test_sending_again_needs_the_forms_token(
    app: Flask, support: Browser, record: Callable[..., uuid.UUID]
) -> None:
    chosen = parked(record)
    assert support.post(PAGE, {"retry": str(chosen)}).status_code == 400
    assert state_of(app, chosen)[0] == "parked"


# ---- commands ------------------------------------------------------------------------------------------------


def test_commands_list_and_send_again(
    app: Flask, record: Callable[..., uuid.UUID], client: RelyingParty
) -> None:
    assert run_command(app, "logouts", "list").output == "No logouts.\n"
    waiting, stuck = record(), parked(record)
    listed = json.loads(run_command(app, "logouts", "list", "--json").output)
    assert [one["id"] for one in listed] == [str(stuck), str(waiting)]
    assert (listed[0]["client"], listed[0]["last_error"], listed[0]["state"]) == (
        "Test app",
        "status 503",
        "parked",
    )
    [only] = json.loads(run_command(app, "logouts", "list", "--parked", "--json").output)
    assert only["id"] == str(stuck)
    assert "status 503" in run_command(app, "logouts", "list", "--client", client.client_id).output
    assert "There is no client" in run_command(app, "logouts", "list", "--client", "nobody").output
    result = run_command(app, "logouts", "retry", str(stuck))
    assert (result.exit_code, result.output) == (0, "1 logout(s) are on their way again.\n")
    assert state_of(app, stuck) == ("queued", 0)
    result = run_command(app, "logouts", "retry", str(stuck))
    assert (result.exit_code, "not parked" in result.output) == (1, True)
    result = run_command(app, "logouts", "retry", str(uuid.uuid4()))
    assert (result.exit_code, "no such logout" in result.output) == (1, True)
    another = parked(record)
    result = run_command(app, "logouts", "retry", str(stuck), str(another), str(another))
    assert (result.exit_code, result.stdout) == (1, "1 logout(s) are on their way again.\n")
    assert f"{stuck}: This logout is not parked." in result.stderr
    assert state_of(app, another) == ("queued", 0)


def test_all_that_are_parked_are_sent_again(
    app: Flask, record: Callable[..., uuid.UUID], client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logouts.desk, "RETRY_BATCH", 2)
    stuck = [parked(record) for _ in range(5)]
    for wrong in ([], [str(stuck[0]), "--parked"], [str(stuck[0]), "--client", client.client_id]):
        assert run_command(app, "logouts", "retry", *wrong).exit_code == 2
    result = run_command(app, "logouts", "retry", "--parked", "--json")
    assert json.loads(result.output) == {"queued": 5}
    assert {state_of(app, one) for one in stuck} == {("queued", 0)}


# ---- what is counted -----------------------------------------------------------------------------------------


def test_what_waits_is_counted(app: Flask, record: Callable[..., uuid.UUID]) -> None:
    record()
    record(state="delivered")
    parked(record)
    assert what_waits(app)["logouts"] == 1
    with app.app_context():
        found = {labels["state"]: value for _, _, labels, value in logouts.gauges()}
    assert found == {"queued": 1, "sending": 0, "parked": 1}
    text = parts_of(app).metrics.registry
    assert text.get_sample_value("id_oidc_logout_sent_total", {"result": "dropped"}) is not None
