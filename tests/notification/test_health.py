"""What the outside sees of mail: a row in /health from what the last minutes showed, and counted results."""

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.models import Attempt
from tests.notification.conftest import address, ask, deliver, make_due
from tests.pages import Browser
from tests.sink import Sink


@pytest.fixture
def no_earlier_attempts(app: Flask) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Attempt).values(started_at=utcnow() - timedelta(days=1)))


def email_row(browser: Browser) -> dict[str, object]:
    report = browser.get("/health", headers={"Accept": "application/json"}).json
    assert report is not None
    (row,) = (row for row in report["components"] if row["name"] == "email")
    return row


def health_of(app: Flask) -> str:
    with app.app_context():
        return delivery.mail_health().status


@pytest.mark.usefixtures("no_earlier_attempts")
def test_health_says_what_the_last_minutes_showed(mail_app: Flask, sink: Sink, browser: Browser) -> None:
    assert health_of(mail_app) == "healthy", "no mail is no trouble"
    refused = address()
    sink.tell(recipients={refused: "550 5.1.1 No such mailbox"})
    deliver(mail_app, ask(mail_app, recipient=refused))
    assert health_of(mail_app) == "healthy", "one bad address is no trouble"


@pytest.mark.usefixtures("no_earlier_attempts")
def test_a_server_that_wants_everything_later_shows_soon(mail_app: Flask, sink: Sink) -> None:
    deliver(mail_app, ask(mail_app))
    sink.tell(recipients={"*": "451 4.3.0 Later"})
    for expected in ("healthy", "healthy", "degraded"):
        deliver(mail_app, ask(mail_app))
        assert health_of(mail_app) == expected


@pytest.mark.usefixtures("no_earlier_attempts")
def test_a_mail_that_cannot_be_written_says_nothing_about_the_server(mail_app: Flask, sink: Sink) -> None:
    sink.refuse()
    deliver(mail_app, ask(mail_app))
    deliver(mail_app, ask(mail_app, recipient="no address"))
    assert health_of(mail_app) == "degraded"


@pytest.mark.usefixtures("no_earlier_attempts")
def test_health_is_degraded_while_no_mail_leaves(mail_app: Flask, sink: Sink, browser: Browser) -> None:
    deliver(mail_app, ask(mail_app))
    message = ask(mail_app)
    sink.refuse()
    deliver(mail_app, message)
    assert health_of(mail_app) == "degraded"
    deadline = time.monotonic() + 30
    # /health answers from the last background probe, which may be a second old.
    while (row := email_row(browser))["status"] == "healthy" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (row["status"], row["details"]) == ("degraded", {"reason": "unreachable"})
    connections = sink.connections
    sink.accept()
    make_due(mail_app, message)
    deliver(mail_app, message)
    assert health_of(mail_app) == "healthy"
    assert sink.connections == connections + 1, "health itself calls nobody"


def test_results_are_counted(mail_app: Flask, sink: Sink) -> None:
    def count(result: str) -> float:
        value = parts_of(mail_app).metrics.registry.get_sample_value(
            "id_email_sent_total", {"result": result}
        )
        assert value is not None, "counted from zero on"
        return value

    before = {result: count(result) for result in ("sent", "deferred", "refused")}
    to = address()
    sink.tell(recipients={to: "550 5.1.1 No"})
    deliver(mail_app, ask(mail_app))
    deliver(mail_app, ask(mail_app, recipient=to))
    assert count("sent") == before["sent"] + 1
    assert count("refused") == before["refused"] + 1
    assert count("deferred") == before["deferred"]
