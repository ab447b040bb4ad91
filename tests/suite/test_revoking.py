"""Revoking by command: the browser is out at its next request, and the refresh token is dead within a second."""

import time

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from tests.suite.people import People


@pytest.mark.parametrize("scope", ["openid", "openid offline_access"])
def test_revoking_a_persons_sessions_ends_browser_and_tokens(people: People, scope: str):
    member = people.member()
    client = people.client("--scope", "openid offline_access")
    with OAuth2Session(
        client["client_id"],
        client["client_secret"],
        scope=scope,
        redirect_uri="https://app.test/callback",
        code_challenge_method="S256",
    ) as app:
        app.verify, app.trust_env = people.certificate, False
        address, state = app.create_authorization_url(
            f"{people.origin}/oauth2/authorize", code_verifier="v" * 64
        )
        member.browser.get(address, follow=True)
        member.browser.fill(button="allow", follow=True)
        token = app.fetch_token(
            f"{people.origin}/oauth2/token",
            authorization_response=member.browser.location,
            state=state,
            code_verifier="v" * 64,
        )
        assert member.browser.get("/account").status_code == 200
        assert app.get(f"{people.origin}/oauth2/userinfo").status_code == 200

        done = people.command("account", "sessions", "revoke", member.email)
        began = time.monotonic()
        assert "1" in done.stdout

        member.browser.get("/account")
        assert "/login" in member.browser.location
        assert app.get(f"{people.origin}/oauth2/userinfo").status_code == 401
        with pytest.raises(OAuthError, match="invalid_grant"):
            app.refresh_token(f"{people.origin}/oauth2/token", refresh_token=token["refresh_token"])
        assert time.monotonic() - began < 1
