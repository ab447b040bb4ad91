"""One number from the front door to the mail: in every log line, event, task, answer and trace of a request."""

import json
from typing import Any

from tests.collector import Collector, Span
from tests.running import wait_until
from tests.suite.people import People


def lines_of(people: People, number: str) -> dict[str, list[dict[str, Any]]]:
    """What each program logged under this number."""
    found = {}
    for program in people.suite.programs():
        lines = [line for line in people.log(program) if line.get("correlation_id") == number]
        if lines:
            found[program] = lines
    return found


def test_a_sign_up_is_followed_from_the_access_log_to_its_mail(people: People, collector: Collector) -> None:
    email, browser = people.new_email("followed"), people.browser()
    number = people.apply(browser, email).headers["X-Request-ID"]
    people.wait_for_mail(email)
    wait_until(lambda: "notification-worker" in lines_of(people, number), 20)
    lines = lines_of(people, number)
    [access] = lines["nginx"]
    assert (access["event"], access["method"], access["path"], access["status"]) == (
        "request",
        "POST",
        "/apply",
        303,
    )
    assert [line["event"] for line in lines["onboarding"] if line["event"] == "request"] == ["request"]
    wait_until(
        lambda: "mail_sent" in {line["event"] for line in lines_of(people, number)["notification-worker"]}
    )
    tasks = {line.get("task") for line in lines_of(people, number)["notification-worker"]}
    assert {"notification.receive_event", "notification.deliver"} <= tasks
    wait_until(lambda: "onboarding-worker" in lines_of(people, number))
    assert {line["task"] for line in lines_of(people, number)["onboarding-worker"]} == {
        "onboarding.confirm_events"
    }
    assert email not in json.dumps(lines), "by its number, and not by somebody's address"

    def named() -> dict[str, Span]:
        return {span.name: span for span in collector.spans(number)}

    way = ["run/notification.deliver", "apply_async/notification.deliver", "run/notification.receive_event"]
    way.append("apply_async/notification.receive_event")
    wait_until(lambda: {"POST /apply", "mail", *way} <= set(named()), 20)
    spans = named()
    mail = spans["mail"]
    assert (mail.process, mail.attributes["template"], mail.attributes["result"]) == (
        "id-notification",
        "confirm_address",
        "sent",
    )
    for child, parent in zip(["mail", *way], way, strict=False):
        assert spans[child].parent == spans[parent].id, f"{child} is below {parent}"
    assert spans[way[-1]].process == spans["POST /apply"].process == "id-onboarding"


def test_a_refusal_names_its_number_to_people_and_programs(people: People) -> None:
    browser = people.browser()
    problem = browser.get("/api/v1/applications", headers={"Accept": "application/json"})
    assert problem.status_code == 401
    number = problem.headers["X-Request-ID"]
    assert problem.json()["correlation_id"] == number
    wait_until(lambda: {"nginx", "onboarding"} <= set(lines_of(people, number)))
