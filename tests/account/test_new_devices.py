"""A device that somebody signs in on for the first time is told of by mail."""

from typing import Any

from flask import Flask

from tests.account.conftest import Person, side_by_side, sign_in
from tests.account.test_upkeep import run_task
from tests.conftest import recorded
from tests.pages import Browser


def device_mails(app: Flask, person: Person) -> list[Any]:
    from libs.messaging.events import MailRequested

    mails = [mail for mail in recorded(app, MailRequested) if mail.recipient == person.email]
    return [mail for mail in mails if mail.template == "new_device"]


def test_a_second_device_is_told_of_once_and_a_known_one_never(app: Flask, person: Person) -> None:
    first, second = Browser(app, ip="198.51.100.20"), Browser(app, ip="198.51.100.21")
    sign_in(first, person)
    run_task(app, "tell_of_new_devices")
    assert not device_mails(app, person), "the first device is no news"
    sign_in(second, person)
    run_task(app, "tell_of_new_devices")
    [mail] = device_mails(app, person)
    assert mail.context["address"] == "198.51.100.21"
    assert "/account/not-me?token=" in mail.context["not_me"]
    for browser in (first, second):
        browser.get("/logout")
        browser.fill(button="sign-out")
        sign_in(browser, person)
    run_task(app, "tell_of_new_devices")
    assert len(device_mails(app, person)) == 1, "both are known now"


def test_two_workers_side_by_side_tell_of_a_device_once(app: Flask, person: Person) -> None:
    sign_in(Browser(app), person)
    for _ in range(3):
        sign_in(Browser(app), person)
    results = side_by_side(*[lambda: run_task(app, "tell_of_new_devices")] * 4)
    assert results == [None] * 4
    assert len(device_mails(app, person)) == 3
