"""The queue: its filters, search, numbers and ages, and that none of it reads the whole table."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.audit import acting_as
from libs.database import utcnow
from libs.service import parts_of
from services.onboarding.flows.review import queue
from services.onboarding.models import Application
from tests.account.plans import assert_flat, plans_of
from tests.conftest import sign_in_copy
from tests.onboarding import steps
from tests.onboarding.plans import looks, seeded_applications
from tests.onboarding.test_review_claims import act
from tests.pages import Browser


def shown(browser: Browser, state: str, search: str) -> set[str]:
    """The addresses that the queue shows."""
    browser.get("/admin/applications", query_string={"state": state, "q": search})
    assert browser.status == 200
    return set(re.findall(r"<td>(Ada-\w+@[\w.]+)</td>", browser.text))


def test_filters_part_the_undecided(onboarding_app: Flask) -> None:
    mark = steps.new_email()[4:12]
    names = ("unproven", "free", "mine", "others", "asked", "answered", "decided")
    emails = {name: steps.apply(onboarding_app, name=f"{name} {mark}") for name in names}
    for name in names[1:]:
        steps.confirm(onboarding_app, emails[name])
    me, other = steps.reviewer(onboarding_app, "Me"), steps.reviewer(onboarding_app, "Other")
    act(onboarding_app, me, emails["mine"], "take")
    act(onboarding_app, other, emails["others"], "take")
    act(onboarding_app, me, emails["asked"], "ask", question="Who are you?")
    act(onboarding_app, me, emails["decided"], "approve")
    everything = set(emails.values())
    undecided = everything - {emails["decided"]}
    expected = {
        "undecided": undecided,
        "unclaimed": {emails[name] for name in ("unproven", "free", "answered")},
        "mine": {emails["mine"], emails["asked"]},
        "others": {emails["others"]},
        "waiting": {emails["unproven"], emails["asked"]},
        "submitted": {emails["unproven"]},
        "in_review": {emails["mine"], emails["others"], emails["asked"]},
        "approved": {emails["decided"]},
        "rejected": set(),
        "all": everything,
    }
    for state, wanted in expected.items():
        assert shown(me, state, mark) == wanted, state


def test_search_among_all_finds_beginnings_and_mail_domains(onboarding_app: Flask) -> None:
    domain = f"d{steps.new_email()[4:10]}.test"
    email = steps.apply(onboarding_app, f"Ada-x1@{domain}", name="Anna Maria von Zürich-Nord")
    browser = steps.reviewer(onboarding_app)
    for found in (
        f"ada-x1@{domain[:4]}",
        "ZÜRICH",
        "von mar",
        "anna maria",
        f"@{domain}",
        f"@{domain.upper()}",
    ):
        assert email in shown(browser, "all", found), found
    for missed in ("ürich", "x1@", "anna peter", "@nobody.test", "@"):
        assert email not in shown(browser, "all", missed), missed
    assert email in shown(browser, "undecided", "ürich"), "parts are found among the undecided"


def test_a_search_that_stops_early_says_so_and_goes_on(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = steps.new_email()[4:12]
    emails = [steps.apply(onboarding_app, name=f"Rare {mark}") for _ in range(2)]
    for _ in range(7):
        steps.apply(onboarding_app)
    monkeypatch.setattr(queue, "SCANNED", 5)
    browser = steps.reviewer(onboarding_app)
    browser.get(f"/admin/applications?order=newest&q={mark}")
    seen: list[str] = []
    for _ in range(200):
        seen += re.findall(r"<td>(Ada-\w+@[\w.]+)</td>", browser.text)
        if len(seen) == len(emails):
            break
        assert "Very many applications had to be looked at" in browser.text
        following = re.search(r'id="next" rel="next" href="([^"]+)"', browser.text)
        assert following
        browser.get(following[1].replace("&amp;", "&"))
    assert seen == emails[::-1]


def test_numbers_beside_the_filters_are_bounded(
    onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def number(browser: Browser, name: str) -> str:
        browser.get("/admin/applications")
        found = re.search(rf'{name} <span class="quiet">([^<]+)<', browser.text)
        assert found
        return found[1]

    me = steps.reviewer(onboarding_app)
    assert number(me, "Claimed by me") == "0"
    email = steps.apply(onboarding_app)
    act(onboarding_app, me, email, "take")
    assert number(me, "Claimed by me") == "1"
    monkeypatch.setattr("services.onboarding.routes.review.queue.HIGHEST_NUMBER", 0)
    assert number(me, "Undecided") == "0+"
    monkeypatch.undo()
    monkeypatch.setattr(queue, "COUNTED", 1)
    assert number(me, "Undecided") == "1+"


def test_age_is_told_in_words(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    russian = Browser(onboarding_app)
    sign_in_copy(russian, onboarding_app, roles=["reviewer"], claims={"locale": "ru"})
    path = f"/admin/applications?q={email}"
    for passed, words, russian_words in (
        (timedelta(seconds=5), "less than a minute", "меньше минуты"),
        (timedelta(minutes=7), "7 minutes", "7 минут"),
        (timedelta(days=3), "3 days", "3 дня"),
    ):
        with onboarding_app.app_context():
            session = parts_of(onboarding_app).db.session
            moment = utcnow() - passed
            session.execute(
                sa.update(Application).where(Application.email == email).values(submitted_at=moment)
            )
            session.commit()
        assert f">{words}</time>" in browser.get(path).text
        assert f">{russian_words}</time>" in russian.get(path).text


@pytest.fixture(scope="module")
def many(onboarding_app: Flask) -> Iterator[Flask]:
    """The app, with so many applications that reading them all shows."""
    with seeded_applications(onboarding_app, count=30_000):
        yield onboarding_app


NAMES = [
    *(f"filter {state}" for state in queue.FILTERS),
    "newest first",
    "a later page of all",
    "a part of a name among the undecided",
    "nobody among the undecided",
    "an address among all",
    "a name among all",
    "a name among the withdrawn",
    "a mail domain among all",
    "a mail domain among the rejected",
    "numbers beside the filters",
    "signs",
    "neighbours",
]
"""But a single letter: everybody's address begins with it there, and reading any two hundred rows is right."""


@pytest.mark.parametrize("name", NAMES)
def test_no_look_reads_the_whole_table(many: Flask, name: str) -> None:
    with many.app_context():
        look = looks()[name]
    with acting_as("user:me"):
        assert_flat(plans_of(many, "applications", look))


def test_gauges_count_big_states_by_estimate(many: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.onboarding.flows.review import observing

    def counts() -> dict[str, float]:
        with many.app_context():
            found = {labels["state"]: value for _, _, labels, value in observing.gauges() if labels}
            parts_of(many).db.session.rollback()
        return found

    assert counts()["activated"] > observing.COUNTED
    monkeypatch.setattr(observing, "COUNTED", 100_000)
    true = counts()
    monkeypatch.setattr(observing, "COUNTED", 500)
    estimated = counts()
    for state, count in true.items():
        if count < 500:
            assert estimated[state] == count, state
        else:
            assert abs(estimated[state] - count) <= max(0.1 * count, 500), state


def test_the_oldest_that_waits_is_as_old_as_its_confirmation(onboarding_app: Flask) -> None:
    from services.onboarding.flows.review import observing

    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    with onboarding_app.app_context():
        session = parts_of(onboarding_app).db.session
        long_ago = utcnow() - timedelta(days=4000)
        session.execute(
            sa.update(Application).where(Application.email == email).values(confirmed_at=long_ago)
        )
        session.commit()
        ages = [value for name, _, _, value in observing.gauges() if name == "id_applications_oldest_seconds"]
        session.rollback()
    assert 4000 <= ages[0] / 86_400 < 4001
    steps.approve(onboarding_app, email)
    with onboarding_app.app_context():
        ages = [value for name, _, _, value in observing.gauges() if name == "id_applications_oldest_seconds"]
        parts_of(onboarding_app).db.session.rollback()
    assert ages[0] < 86_400 * 4000
