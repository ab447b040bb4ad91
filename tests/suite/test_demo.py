"""The demo signs a member in: at /demo of the suite, and alone on a site of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.servers import free_port
from tests.gateway.doors import gunicorn, running
from tests.suite.people import Member, People


@pytest.fixture(scope="module")
def demo_site(people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo on 127.0.0.1, which is another site than localhost."""
    port, log = free_port(), tmp_path_factory.mktemp("demo") / "demo.log"
    address = f"http://127.0.0.1:{port}"
    made = people.client(
        "--redirect-uri", f"{address}/callback", "--post-logout-redirect-uri", f"{address}/signed-out"
    )
    environ = people.suite.environ | {
        "DEMO_URL": address,
        "DEMO_CLIENT_ID": made["client_id"],
        "DEMO_CLIENT_SECRET": made["client_secret"],
    }
    with running(gunicorn("gateway.demo:create_app()", port), environ, port, Path(log)):
        yield address


@pytest.fixture(params=["mounted", "on another site"])
def demo(request: pytest.FixtureRequest, people: People) -> str:
    if request.param == "mounted":
        return f"{people.origin}/demo"
    address: str = request.getfixturevalue("demo_site")
    return address


def test_a_member_signs_in_refreshes_and_signs_out(people: People, demo: str):
    member = people.member(name="Grace Hopper")
    visit = visitor(member)
    visit(f"{demo}/login")
    member.browser.fill(button="allow")
    visit(member.browser.location)
    assert member.browser.url == demo
    assert "Grace Hopper" in member.browser.text
    assert member.email in member.browser.text

    visit(f"{demo}/userinfo")
    assert 'id="userinfo"' in member.browser.text
    member.browser.fill(button="demo-refresh")
    visit(member.browser.location)
    assert "Grace Hopper" in member.browser.text

    member.browser.fill(button="demo-sign-out")
    visit(member.browser.location)
    assert member.browser.url.startswith(f"{demo}/signed-out")
    assert "You are signed out" in member.browser.text
    member.browser.get(f"{people.origin}/account")
    assert "/login" in member.browser.location


def test_once_the_session_is_revoked_the_demo_cannot_refresh(people: People, demo: str):
    member = people.member()
    visit = visitor(member)
    visit(f"{demo}/login")
    member.browser.fill(button="allow")
    visit(member.browser.location)
    people.command("account", "sessions", "revoke", member.email)
    member.browser.fill(button="demo-refresh")
    assert "invalid_grant" in member.browser.text
    visit(demo)
    assert 'id="demo-sign-in"' in member.browser.text


def visitor(member: Member) -> Callable[[str], None]:
    """Opens an address and follows redirects from site to site."""

    def visit(address: str) -> None:
        member.browser.get(address, headers={"Accept-Language": "en"})
        while member.browser.status in (302, 303):
            member.browser.get(member.browser.location)

    return visit
