"""The development mailbox: where mail ends while SMTP_URL is unset."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from tests.notification.conftest import ask, deliver, make_due, run_task, work
from tests.pages import ORIGIN, Browser


def mails_of(browser: Browser, to: str) -> list[dict[str, str]]:
    browser.get("/dev/mailbox", query_string={"to": to}, headers={"Accept": "application/json"})
    assert browser.status == 200
    found: list[dict[str, str]] = json.loads(browser.text)
    return found


def test_mail_ends_in_the_mailbox_and_programs_read_it(app: Flask, browser: Browser) -> None:
    link = f"{ORIGIN}/apply/confirm?token=a-token-of-this-test"
    message = ask(app, context={"name": "Ada", "link": link})
    assert work(app) == 1
    (mail,) = mails_of(browser, message.recipient)
    assert set(mail) == {"to", "subject", "text", "html", "sent_at"}
    assert mail["to"] == message.recipient
    assert mail["subject"] == "Confirm your e-mail address"
    assert link in mail["text"]
    assert f'href="{link}"' in mail["html"]
    assert mail["sent_at"].endswith("+00:00")


def test_mail_is_in_the_mailbox_once_however_often_it_is_delivered(app: Flask, browser: Browser) -> None:
    message = ask(app)
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: run_task(app, "deliver", str(message.id)), range(10)))
    assert len(mails_of(browser, message.recipient)) == 1


def test_a_worker_that_dies_after_it_filled_the_mailbox_fills_it_once(app: Flask, browser: Browser) -> None:
    from services.notification.flows.delivery import claiming, sending

    message = ask(app)
    with app.app_context():
        [(held, _)] = claiming.begin(claiming.take(message.id))
        sending.send(held)  # and dies before it says so
    make_due(app, message)
    run_task(app, "sweep_messages")
    assert deliver(app, message).state == "sent"
    assert len(mails_of(browser, message.recipient)) == 1


def test_the_newest_mail_comes_first(app: Flask, browser: Browser) -> None:
    first, second = (deliver(app, ask(app)) for _ in range(2))
    browser.get("/dev/mailbox")
    assert browser.text.index(second.recipient) < browser.text.index(first.recipient)
    browser.get("/dev/mailbox", headers={"Accept": "application/json"})
    assert [mail["to"] for mail in json.loads(browser.text)][:2] == [second.recipient, first.recipient]


def test_the_filter_takes_any_spelling_of_an_address(app: Flask, browser: Browser) -> None:
    message = deliver(app, ask(app))
    other = deliver(app, ask(app))
    browser.get("/dev/mailbox", query_string={"to": message.recipient.upper()})
    assert message.recipient in browser.text
    assert other.recipient not in browser.text
    browser.get("/dev/mailbox?to=nobody@people.test")
    assert "No mail to this address yet." in browser.text


def test_a_mails_page_has_links_that_work(app: Flask, browser: Browser) -> None:
    link = f"{ORIGIN}/apply/confirm?token=abc&next=1"
    message = deliver(app, ask(app, context={"name": "<b>Ada</b>", "link": link}))
    browser.get("/dev/mailbox", query_string={"to": message.recipient})
    path = re.findall(r'href="/dev/mailbox/([0-9a-f-]{36})"', browser.text)[0]
    browser.get(f"/dev/mailbox/{path}")
    assert f'href="{link.replace("&", "&amp;")}"' in browser.text
    assert "Hello &lt;b&gt;Ada&lt;/b&gt;," in browser.text
    browser.get(f"/dev/mailbox/{path}", headers={"Accept": "application/json"})
    assert json.loads(browser.text)["to"] == message.recipient


def test_the_html_of_a_mail_is_shown_in_a_sandbox(app: Flask, browser: Browser) -> None:
    message = deliver(app, ask(app))
    browser.get("/dev/mailbox", query_string={"to": message.recipient})
    path = re.search(r'href="(/dev/mailbox/[0-9a-f-]{36})"', browser.text)
    assert path
    page = browser.get(path[1])
    assert f"frame-src {ORIGIN}" in page.headers["Content-Security-Policy"]
    frame = re.search(r'<iframe [^>]*src="([^"]+)"[^>]* sandbox="([^"]*)"', browser.text)
    assert frame
    assert frame[2] == "allow-top-navigation-by-user-activation"
    page = browser.get(frame[1])
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    policy = page.headers["Content-Security-Policy"]
    assert "sandbox allow-top-navigation-by-user-activation" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "allow-scripts" not in policy
    assert "frame-ancestors 'self'" in policy
    assert page.headers["Cache-Control"] == "no-store"


def test_the_list_leads_where_a_mails_button_leads(app: Flask, browser: Browser) -> None:
    link = f"{ORIGIN}/apply/confirm?token=of-the-button&next=1"
    message = deliver(app, ask(app, context={"name": "Ada", "link": link}))
    browser.get("/dev/mailbox", query_string={"to": message.recipient})
    assert f'href="{link.replace("&", "&amp;")}">Confirm the address</a>' in browser.text
    assert "You asked to join UpdSpace with this address." in browser.text


def test_a_part_of_an_address_finds_all_that_hold_it(app: Flask, browser: Browser) -> None:
    first, second = (deliver(app, ask(app, recipient=f"{name}.part%@people.test")) for name in ("ann", "bob"))
    other = deliver(app, ask(app))
    browser.get("/dev/mailbox", query_string={"to": "PART%"})
    assert first.recipient in browser.text
    assert second.recipient in browser.text
    assert other.recipient not in browser.text


def test_with_a_mail_server_named_the_page_says_that_mail_is_not_here(
    mail_app: Flask, browser: Browser
) -> None:
    message = deliver(mail_app, ask(mail_app))
    browser.get("/dev/mailbox", query_string={"to": message.recipient})
    assert "SMTP_URL names a mail server" in browser.text
    assert mails_of(browser, message.recipient) == []


def test_a_mail_nobody_knows_is_not_found(browser: Browser) -> None:
    browser.get("/dev/mailbox/0190a6b0-0000-7000-8000-000000000000")
    assert browser.status == 404


@pytest.mark.parametrize("path", ["/dev/mailbox", "/dev/mailbox?to=%00&to=%F0", "/dev/mailbox?to=%0d%0aBcc:"])
def test_a_wild_filter_is_answered(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 200


def test_there_is_no_mailbox_outside_development(environment: dict[str, str]) -> None:
    staging = {
        **environment,
        "ID_ENV": "staging",
        "PUBLIC_URL": "https://id.staging.test",
        "SMTP_URL": "smtp://127.0.0.1:2525",
    }
    command = [sys.executable, "-m", "flask", "--app", "services.notification", "routes"]
    listing = subprocess.run(command, env=staging, capture_output=True, text=True, timeout=60).stdout
    assert "/admin/messages" in listing
    assert "/dev/mailbox" not in listing
