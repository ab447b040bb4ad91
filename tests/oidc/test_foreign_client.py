"""A relying party that this project did not write: Authlib's client, over the app in this process."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN, Browser


class OverTheApp(BaseAdapter):
    """Carries what `requests` sends to the WSGI app instead of a socket."""

    def __init__(self, app: Flask):
        super().__init__()
        self.app = app

    def send(self, request: Any, **_: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(request.url)
        answer = http(self.app).open(
            parts.path + (f"?{parts.query}" if parts.query else ""),
            base_url=ORIGIN,
            method=request.method,
            headers=dict(request.headers),
            data=request.body,
        )
        response = requests.Response()
        response.status_code = answer.status_code
        response.headers.update(dict(answer.headers))
        response.raw = HTTPResponse(BytesIO(answer.data), status=answer.status_code, preload_content=False)
        response.url, response.request = request.url, request
        return response

    def close(self) -> None:
        return None


@pytest.fixture(params=["client_secret_basic", "client_secret_post", "none"])
def session(app: Flask, make_client: Any, request: pytest.FixtureRequest) -> Iterator[OAuth2Session]:
    client: RelyingParty = make_client(auth_method=request.param)
    session = OAuth2Session(
        client.client_id,
        client.secret,
        redirect_uri=client.redirect_uri,
        scope="openid profile email offline_access",
        code_challenge_method="S256",
        token_endpoint_auth_method=request.param,
    )
    session.mount(ORIGIN, OverTheApp(app))
    yield session
    session.close()


def test_authlibs_client_signs_in_verifies_refreshes_and_revokes(
    app: Flask, browser: Browser, person: Session, session: OAuth2Session
) -> None:
    metadata = session.get(f"{ORIGIN}/.well-known/openid-configuration", withhold_token=True).json()
    verifier = "v" * 64
    address, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce="n-1"
    )
    browser.get(address, follow=True)
    browser.fill(button="allow")
    token = session.fetch_token(
        metadata["token_endpoint"],
        authorization_response=browser.location,
        state=state,
        code_verifier=verifier,
    )
    keys = KeySet.import_key_set(session.get(metadata["jwks_uri"], withhold_token=True).json())
    decoded = jwt.decode(
        token["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"]
    )
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={"iss": {"value": metadata["issuer"]}, "aud": {"value": session.client_id}},
        params={"nonce": "n-1", "client_id": session.client_id, "access_token": token["access_token"]},
    )
    claims.validate()
    assert session.get(metadata["userinfo_endpoint"]).json()["sub"] == claims["sub"] == person.sub
    fresh = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert fresh["access_token"] != token["access_token"]
    assert session.get(metadata["userinfo_endpoint"]).status_code == 200
    answer = session.revoke_token(metadata["revocation_endpoint"], token=fresh["refresh_token"])
    assert answer.status_code == 200
    assert session.get(metadata["userinfo_endpoint"]).status_code == 401
