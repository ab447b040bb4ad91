"""Claims: who is at an application, taking it over, giving it back."""

import threading

from flask import Flask

from tests.onboarding import steps
from tests.pages import Browser


def act(app: Flask, browser: Browser, email: str, button: str, **fields: str) -> Browser:
    """Press a button of the application's page."""
    browser.fill(steps.page_of(app, email), button=button, follow=True, **fields)
    return browser


def test_a_claim_is_seen_by_others_and_holds_their_decision_back(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    path = steps.page_of(onboarding_app, email)
    late = steps.reviewer(onboarding_app, "Late Reviewer")
    late.get(path)
    form, _ = late.find_form("approve", {})
    first = act(onboarding_app, steps.reviewer(onboarding_app, "First Reviewer"), email, "take")
    assert first.status == 200
    assert 'id="release"' in first.text
    assert steps.facts(onboarding_app, email)["state"] == "in_review"
    late.post(path, {**dict(form.fields), "decision": "approve"})
    assert late.status == 409
    assert "First Reviewer has claimed this application." in late.text
    assert 'id="approve"' not in late.text
    assert 'id="take-over"' in late.text
    late.get(f"/admin/applications?state=others&q={email}")
    assert "First Reviewer" in late.text
    assert steps.facts(onboarding_app, email)["claimed_by"] == "First Reviewer"
    first.fill(path, button="approve", follow=True)
    assert steps.facts(onboarding_app, email)["state"] == "approved"


def test_a_claim_is_taken_over_with_a_button(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    first = act(onboarding_app, steps.reviewer(onboarding_app, "First Reviewer"), email, "take")
    second = act(onboarding_app, steps.reviewer(onboarding_app, "Second Reviewer"), email, "take-over")
    assert "You have claimed this application." in second.text
    first.fill(button="release")
    assert first.status == 409
    assert "You have not claimed this application" in first.text
    assert "Second Reviewer has claimed this application" in first.text
    act(onboarding_app, second, email, "approve")
    assert steps.facts(onboarding_app, email)["decided_by"] == "Second Reviewer"


def test_a_claim_given_back_leaves_the_application_as_it_was(onboarding_app: Flask) -> None:
    unproven, proven = steps.apply(onboarding_app), steps.apply(onboarding_app)
    steps.confirm(onboarding_app, proven)
    browser = steps.reviewer(onboarding_app)
    for email, state in ((unproven, "submitted"), (proven, "confirmed")):
        act(onboarding_app, browser, email, "take")
        act(onboarding_app, browser, email, "release")
        values = steps.facts(onboarding_app, email)
        assert (values["state"], values["claimed_by"]) == (state, None)


def test_an_address_is_confirmed_while_its_application_is_claimed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = act(onboarding_app, steps.reviewer(onboarding_app), email, "take")
    steps.confirm(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "in_review"
    act(onboarding_app, browser, email, "release")
    assert steps.facts(onboarding_app, email)["state"] == "confirmed"


def test_claiming_again_changes_nothing(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.reviewer(onboarding_app)
    browser.get(steps.page_of(onboarding_app, email))
    form, _ = browser.find_form("take", {})
    for _ in range(2):
        browser.post(form.action, dict(form.fields))
        assert browser.status == 303
    history = browser.get(steps.page_of(onboarding_app, email)).text.split('id="history"')[1]
    assert history.count("<td>Claimed</td>") == 1


def test_what_is_decided_is_not_claimed(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    late = steps.reviewer(onboarding_app, "Late Reviewer")
    late.get(steps.page_of(onboarding_app, email))
    steps.approve(onboarding_app, email)
    late.fill(button="take")
    assert late.status == 409
    assert "Rita Reviewer has already approved this application." in late.text


def test_of_many_who_claim_at_once_one_has_it_and_the_others_are_told(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    _race(onboarding_app, email, "take", [f"Claimer {number}" for number in range(6)])


def test_of_many_who_take_over_at_once_one_has_it_and_the_others_are_told(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    act(onboarding_app, steps.reviewer(onboarding_app, "First Reviewer"), email, "take")
    _race(onboarding_app, email, "take-over", [f"Taker {number}" for number in range(6)])


def _race(app: Flask, email: str, button: str, names: list[str]) -> None:
    crowd = {name: steps.reviewer(app, name) for name in names}
    path, start = steps.page_of(app, email), threading.Barrier(len(crowd))
    for browser in crowd.values():
        browser.get(path)

    def press(browser: Browser) -> None:
        start.wait()
        browser.fill(button=button)

    threads = [threading.Thread(target=press, args=(browser,)) for browser in crowd.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {name: browser.status for name, browser in crowd.items()}
    assert sorted(statuses.values()) == [303] + [409] * (len(crowd) - 1)
    [winner] = [name for name, status in statuses.items() if status == 303]
    assert steps.facts(app, email)["claimed_by"] == winner
    for name, browser in crowd.items():
        assert name == winner or f"{winner} has claimed this application." in browser.text
