"""Staff look for messages: by address, template, state, number, Message-ID; a long list is as fast as a short one."""

import functools
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.notification.flows.search import MOST_ADDRESSES, TooManyAddresses, Wanted, search_messages
from services.notification.models import WAITING, Message
from tests.account.plans import assert_flat, plans_of
from tests.conftest import run_command, sign_in_copy
from tests.notification.conftest import address, ask
from tests.notification.long_lists import SEARCHES, id_of_row, seeded
from tests.pages import Browser

ROWS = 60_000


@pytest.fixture(autouse=True)
def _nothing_waits_on(app: Flask) -> Iterator[None]:
    """Tests of the sweep find no crowd before them."""
    yield
    with app.app_context(), parts_of(app).db.transaction() as session:
        waiting = sa.update(Message).where(Message.state.in_(WAITING))
        session.execute(waiting.values(state="sent", sealed_context=None))


@pytest.fixture
def support(app: Flask, browser: Browser) -> Browser:
    sign_in_copy(browser, app, roles=["support"])
    return browser


def found(app: Flask, **wanted: Any) -> list[str]:
    """The addresses of what is found, newest first."""
    with app.app_context():
        return [message.recipient for message in search_messages(Wanted(**wanted), limit=200).rows]


def update(app: Flask, message: Message, **values: Any) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == message.id).values(**values))


def test_an_address_is_found_in_any_spelling_and_alone(app: Flask) -> None:
    mine = ask(app, recipient=address().replace("ada", "Ada"))
    ask(app, recipient=f"{mine.recipient}ing")
    assert found(app, to=f"  {mine.recipient.upper()} ") == [mine.recipient]
    assert found(app, to=mine.recipient.replace("@", "＠")) == [mine.recipient]


@pytest.mark.parametrize("ending", ["", "*", "@*", "@peo*"])
def test_the_beginning_of_an_address_finds_all_that_begin_so(app: Flask, ending: str) -> None:
    start = f"x{uuid.uuid4().hex[:8]}%_"
    first, second = (ask(app, recipient=f"{start}{name}") for name in ("@people.test", "@PEOPLE2.test"))
    ask(app, recipient=f"{start.replace('%', 'y')}@people.test")
    assert found(app, to=f"{start.upper()}{ending}") == [second.recipient, first.recipient]


def test_a_beginning_of_too_many_addresses_asks_for_more_of_it(app: Flask, support: Browser) -> None:
    start = f"y{uuid.uuid4().hex[:8]}"
    for number in range(MOST_ADDRESSES + 1):
        ask(app, recipient=f"{start}{number}@people.test")
    with app.app_context(), pytest.raises(TooManyAddresses):
        search_messages(Wanted(to=start))
    assert support.get("/admin/messages", query_string={"to": start}).status_code == 422
    assert "write more of it" in support.text
    result = run_command(app, "messages", "list", "--to", start)
    assert result.exit_code == 1
    assert "write more of it" in result.output
    assert len(found(app, to=f"{start}1")) == 11


def test_a_message_id_finds_its_mail_however_it_is_written(app: Flask) -> None:
    message = ask(app)
    bare = message.header_id.strip("<>")
    for spelling in (message.header_id, bare, f" {bare.upper()} "):
        assert found(app, header_id=spelling) == [message.recipient]
    assert found(app, header_id=bare.replace("@", "@other.")) == []
    for wild in ("nonsense", "<>", "\0", "x" * 5000):
        assert found(app, header_id=wild) == []


def test_whatever_is_named_has_to_hold(app: Flask) -> None:
    to, number = address(), f"number-{uuid.uuid4().hex}"
    context = {"name": "Ada", "reason": None}
    one = ask(app, recipient=to)
    two = ask(app, recipient=to, template="application_rejected", context=context)
    update(app, one, state="failed", reason="refused", correlation_id=number)
    update(app, two, state="parked", reason="unwritable", correlation_id=number)
    assert len(found(app, to=to)) == len(found(app, correlation_id=number)) == 2
    assert found(app, correlation_id=number, states=("failed",)) == [to]
    assert found(app, correlation_id=number, to=to[:8], template="application_rejected") == [to]
    assert found(app, to=to, states=("failed", "parked"), template="confirm_address") == [to]
    assert found(app, to=to, states=("sent",)) == []
    assert found(app, to=to, correlation_id="another") == []
    assert found(app, header_id=one.header_id, states=("parked",)) == []
    assert found(app, to=address()) == []


def test_the_page_has_the_filters_and_keeps_them_on_older_pages(app: Flask, support: Browser) -> None:
    to = address()
    for _ in range(51):
        ask(app, recipient=to)
    support.fill(
        "/admin/messages", button="filter", to=to.upper(), state="queued", template="confirm_address"
    )
    assert support.text.count(f"<td>{to}</td>") == 50
    older = re.search(r'id="older" href="([^"]+)"', support.text)
    assert older
    support.get(older[1].replace("&amp;", "&"))
    assert support.text.count(f"<td>{to}</td>") == 1
    assert f'value="{to.upper()}"' in support.text
    assert 'id="older"' not in support.text


def test_what_waits_for_staff_is_one_filter(app: Flask, support: Browser) -> None:
    one, two, three = (ask(app) for _ in range(3))
    update(app, one, state="failed", reason="refused")
    update(app, two, state="parked", reason="too_many_tries")
    support.get("/admin/messages?state=undelivered")
    assert one.recipient in support.text
    assert two.recipient in support.text
    assert three.recipient not in support.text
    listed = json.loads(run_command(app, "messages", "list", "--failed", "--json").output)
    assert {one.recipient, two.recipient} <= {row["recipient"] for row in listed}
    assert {row["state"] for row in listed} == {"failed", "parked"}


def test_the_command_has_the_same_filters(app: Flask) -> None:
    message = ask(app)
    update(app, message, correlation_id=f"of-{message.id}")
    ways = (
        ["--to", message.recipient],
        ["--to", message.recipient[:12]],
        ["--correlation-id", f"of-{message.id}"],
        ["--message-id", message.header_id],
        ["--to", message.recipient, "--state", "queued", "--template", "confirm_address"],
    )
    for way in ways:
        rows = json.loads(run_command(app, "messages", "list", *way, "--json").output)
        assert [row["id"] for row in rows] == [str(message.id)], way
    assert run_command(app, "messages", "list", "--failed", "--state", "sent").exit_code == 2


# ---- long lists --------------------------------------------------------------------------------------------


def test_every_list_reads_an_index_and_no_more_of_it_than_a_page_takes(app: Flask) -> None:
    with seeded(app, messages=ROWS):
        for name, (wanted, index) in SEARCHES.items():
            for before in (None, id_of_row(ROWS // 2)):
                read = functools.partial(search_messages, Wanted(**wanted), before=before)
                nodes = plans_of(app, "messages", read)
                try:
                    assert_flat(nodes, index=index if before is None else None)
                except AssertionError as error:
                    raise AssertionError(name) from error
