"""Joining, over HTTP, in the suite as it runs in production; and one grep that tells the story."""

from tests.running import wait_until
from tests.suite.people import PASSWORD, People


def test_a_person_joins_signs_in_again_and_out(people: People):
    member = people.member(name="Ada Lovelace")
    assert member.browser.url == f"{people.origin}/account"
    assert member.email in member.browser.text
    member.browser.get("/account/sessions")
    assert member.browser.status == 200

    member.browser.fill("/logout", button="sign-out", follow=True)
    assert "Signed out" in member.browser.text
    again = people.browser()
    again.fill("/login?continue=/account", email=member.email, password=PASSWORD, follow=True)
    assert (again.url, again.status) == (f"{people.origin}/account", 200)

    # Each mail came once, and each link worked once.
    subjects = [mail["subject"] for mail in people.mail(member.email)]
    assert len(subjects) == len(set(subjects)) == 3


def test_cookies_are_bound_to_this_host_and_to_https(people: People):
    browser = people.administrator()
    answer = browser.get("/login")
    names = {cookie.name for cookie in browser.http.cookies}
    assert names == {"__Host-id_session", "__Host-id_browser", "__Host-id_device"}
    assert all(cookie.secure for cookie in browser.http.cookies)
    assert answer.headers["Strict-Transport-Security"]


def test_one_id_joins_nginx_service_event_and_task(people: People):
    email, browser = people.new_email(), people.browser()
    answer = people.apply(browser, email)
    assert answer.status_code == 303
    request_id = answer.headers["X-Request-ID"]
    people.wait_for_mail(email)

    def story(program: str) -> list[str]:
        return [
            record["event"] for record in people.log(program) if record.get("correlation_id") == request_id
        ]

    wait_until(lambda: "task_done" in story("notification-worker"), 10)
    for program in ("nginx", "onboarding"):
        assert "request" in story(program), program
    # Nobody else's words carry it.
    assert not story("account")


def test_no_log_holds_a_secret_of_the_way_in(people: People):
    member = people.member()
    tokens = [
        word.partition("token=")[2]
        for mail in people.mail(member.email)
        for word in mail["text"].split()
        if "token=" in word
    ]
    assert len(set(tokens)) == 3, "two links that are used up, and the one to where things stand"
    secrets = [*tokens, PASSWORD, member.browser.cookie("__Host-id_session") or ""]
    folder = people.suite.data.path / "log"
    for file in sorted(folder.iterdir()):
        text = file.read_text(errors="replace")
        assert not [secret for secret in secrets if secret and secret in text], file.name
