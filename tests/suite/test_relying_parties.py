"""Relying parties that this project did not write sign a member in, through nginx."""

import json
from pathlib import Path
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet, generate_key

from tests.suite.node import Node
from tests.suite.people import Member, People


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
def node() -> Node:
    """Node, with the packages of relying_party/ installed beside the scripts there."""
    return Node.prepare()


SETTINGS = {
    "redirect_uri": "https://app.test/callback",
    "post_logout_redirect_uri": "https://app.test/bye",
    "scope": "openid profile email",
}


def with_keys(people: People, tmp_path: Path, alg: str, *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A client that proves itself by a key of its own: what was registered, and the private JWK."""
    kind = {
        "ES256": ("EC", "P-256"),
        "RS256": ("RSA", 2048),
        "PS256": ("RSA", 2048),
        "EdDSA": ("OKP", "Ed25519"),
    }
    key = generate_key(*kind[alg], {"kid": "own-key", "alg": alg, "use": "sig"})
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    made = people.client("--auth-method", "private_key_jwt", "--jwks", str(file), *more)
    return made, key.as_dict(private=True)


@pytest.mark.parametrize("auth_method", ["client_secret_basic", "none"])
def test_openid_client_signs_a_member_in_refreshes_and_revokes(
    people: People, member: Member, node: Node, auth_method: str
):
    client = people.client("--auth-method", auth_method)
    settings = {"client_id": client["client_id"], "client_secret": client.get("client_secret"), **SETTINGS}
    with node.run("sign_in.mjs", people, settings) as app:
        app.say(come_back(member, app.hear()["open"]))
        learned = app.hear()
    assert learned["claims"]["iss"] == people.origin
    assert learned["userinfo"]["email"] == member.email
    assert learned["rotated"] is True
    assert learned["afterRevocation"] == "invalid_grant"


@pytest.mark.parametrize("alg", ["ES256", "PS256", "EdDSA"])
def test_openid_client_pushes_its_request_proves_itself_by_a_key_and_signs_out(
    people: People, node: Node, tmp_path: Path, alg: str
):
    member = people.member(name="Mary Somerville")
    client, private = with_keys(
        people,
        tmp_path,
        alg,
        "--id-token-signed-response-alg",
        alg,
        "--require-pushed-authorization-requests",
    )
    settings = {"client_id": client["client_id"], "private_jwk": private, "pushed": True, "id_token_alg": alg}
    with node.run("sign_in.mjs", people, {**settings, **SETTINGS}) as app:
        address = app.hear()["open"]
        assert "request_uri" in address
        assert "redirect_uri" not in address
        app.say(come_back(member, address))
        learned = app.hear()
    assert learned["userinfo"]["email"] == member.email
    assert learned["afterRevocation"] == "invalid_grant"
    member.browser.get(learned["endSession"], follow=True)
    assert member.browser.location == "https://app.test/bye?state=bye", member.browser.text
    member.browser.get("/account")
    assert "/login" in member.browser.location


def test_oauth4webapi_finds_every_answer_right_by_the_letter(
    people: People, member: Member, node: Node, tmp_path: Path
):
    grants = ("authorization_code", "refresh_token", "client_credentials")
    client, private = with_keys(
        people,
        tmp_path,
        "ES256",
        *(word for grant in grants for word in ("--grant", grant)),
        *("--scope", "openid profile email users:read", "--id-token-signed-response-alg", "ES256"),
    )
    settings = {"client_id": client["client_id"], "private_jwk": private, "id_token_alg": "ES256"}
    with node.run("by_the_letter.mjs", people, {**settings, **SETTINGS, "own_scope": "users:read"}) as app:
        app.say(come_back(member, app.hear()["open"]))
        learned = app.hear()
    assert learned["userinfo"]["email"] == member.email
    assert learned["before"]["active"] is True
    assert learned["before"]["client_id"] == client["client_id"]
    assert learned["after"] == {"active": False}
    assert learned["own"]["active"] is True
    assert (learned["own"]["sub"], learned["own"]["scope"]) == (client["client_id"], "users:read")


@pytest.mark.parametrize("answer", ["allow", "deny"])
def test_a_device_with_openid_client_waits_for_its_person(
    people: People, member: Member, node: Node, answer: str
):
    device_code = "urn:ietf:params:oauth:grant-type:device_code"
    client = people.client("--auth-method", "none", "--grant", device_code, "--grant", "refresh_token")
    settings = {"client_id": client["client_id"], "scope": "openid email"}
    with node.run("device.mjs", people, settings) as device:
        started = device.hear()
        assert started["verification_uri"] == f"{people.origin}/device"
        member.browser.fill("/device", user_code=started["user_code"].lower(), follow=True)
        assert started["user_code"] in member.browser.text
        member.browser.fill(button=answer, follow=True)
        learned = device.hear()
    if answer == "deny":
        assert learned == {"error": "access_denied"}
        return
    assert learned["userinfo"]["email"] == member.email
    assert learned["hasRefreshToken"] is True


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
