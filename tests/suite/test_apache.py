"""Apache's mod_auth_openidc signs a member in, and is told when they are signed out."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from requests import Response

from tests.running import wait_until
from tests.suite.apache import MODULE, Apache
from tests.suite.people import Member, People


@pytest.fixture(scope="module")
def apache(people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apache]:
    """A site whose pages below /protected are for members."""
    if not MODULE.exists():
        assert not os.environ.get("REQUIRE_EVERYTHING"), "apt-get install libapache2-mod-auth-openidc"
        pytest.skip(
            "not run: Apache with mod_auth_openidc is missing (apt-get install libapache2-mod-auth-openidc)"
        )
    apache = Apache(tmp_path_factory.mktemp("apache"))
    client = people.client(
        *("--redirect-uri", apache.redirect_uri, "--scope", "openid email profile"),
        *("--backchannel-logout-uri", f"{apache.redirect_uri}?logout=backchannel"),
        "--backchannel-logout-session-required",
    )
    yield apache.start(issuer=people.origin, client=client, certificate=Path(people.certificate))
    apache.stop()


def visit(member: Member, address: str) -> Response:
    """Open a page in the member's browser, as far as the redirects to the issuer."""
    return member.browser.http.get(address, allow_redirects=False, timeout=30)


def sign_in(member: Member, apache: Apache) -> str:
    """The way to the protected page; returns who Apache says is there."""
    sent = visit(member, f"{apache.url}/protected/")
    assert sent.status_code == 302, apache.errors()
    member.browser.get(sent.headers["Location"], follow=True)
    if not member.browser.location.startswith(apache.url):
        member.browser.fill(button="allow", follow=True)
    back = visit(member, member.browser.location)
    assert back.status_code == 302, apache.errors()
    page = visit(member, back.headers["Location"])
    assert page.status_code == 200, apache.errors()
    return page.headers["X-Remote-User"]


def test_a_member_signs_in(people: People, apache: Apache) -> None:
    member = people.member()
    assert sign_in(member, apache) == member.email
    assert visit(member, f"{apache.url}/protected/").status_code == 200, "and stays signed in"


@pytest.mark.parametrize("how", ["the member signs out", "staff revoke all sessions"])
def test_the_end_of_the_session_reaches_the_site(people: People, apache: Apache, how: str) -> None:
    member = people.member()
    sign_in(member, apache)
    if how == "the member signs out":
        member.browser.fill("/logout", button="sign-out", follow=True)
    else:
        people.command("account", "sessions", "revoke", member.email)
    wait_until(lambda: visit(member, f"{apache.url}/protected/").status_code == 302)
