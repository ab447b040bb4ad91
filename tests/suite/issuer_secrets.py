"""What machines get in hand at the issuer and nobody else may read: each of it used once, well, and once badly."""

import base64
import hashlib
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.oidc.listeners import listening
from tests.oidc.signing_party import ASSERTION_TYPE, make_key, public, sign
from tests.running import ROOT
from tests.suite.people import Member, People

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
VERIFIER = "another-marked-verifier-" + "w" * 40
URI = "https://app.test/callback"


def use_the_issuer(people: People, folder: Path) -> dict[str, str]:
    """By name: what registration, signed and pushed requests, devices, sign-out and imported keys bring."""
    with requests.Session() as http:
        http.verify, http.trust_env = people.certificate, False
        return {
            **register(people, http),
            **sign_everything(people, http, folder),
            **bring_keys(people),
        }


def register(people: People, http: requests.Session) -> dict[str, str]:
    note = ("--note", "Marked", "--json")
    initial = json.loads(people.command("oidc", "registration-tokens", "create", *note).stdout)["token"]
    headers = {"Authorization": f"Bearer {initial}"}
    metadata = {"client_name": "Marked", "redirect_uris": [URI]}
    made = http.post(f"{people.origin}/oauth2/register", json=metadata, headers=headers).json()
    again = http.post(f"{people.origin}/oauth2/register", json=metadata, headers=headers)
    assert again.status_code == 401, "it was for one registration"
    headers = {"Authorization": f"Bearer {made['registration_access_token']}"}
    assert http.get(made["registration_client_uri"], headers=headers).status_code == 200
    code = {"grant_type": "authorization_code", "code": "a-marked-code-that-never-was", "redirect_uri": URI}
    sent = http.post(
        f"{people.origin}/oauth2/token", data=code, auth=(made["client_id"], made["client_secret"])
    )
    assert sent.status_code == 400
    return {
        "the initial access token": initial,
        "the registration token": made["registration_access_token"],
        "the registered client's secret": made["client_secret"],
        "the code that never was": code["code"],
    }


def sign_everything(people: People, http: requests.Session, folder: Path) -> dict[str, str]:
    """A client with a key of its own pushes a signed request, gets opaque tokens, lends a device, and is told."""
    member = people.member(name="Marked Member")
    key = make_key()
    keys = folder / "jwks.json"
    keys.write_text(json.dumps(public(key)))
    found: dict[str, str] = {}
    with listening() as apps:
        told_at = apps.address("marked").replace("127.0.0.1", "localhost")
        made = people.client(
            *(
                "--auth-method",
                "private_key_jwt",
                "--jwks",
                f"@{keys}",
                "--request-object-signing-alg",
                "ES256",
            ),
            *("--grant", "authorization_code", "--grant", "refresh_token", "--grant", DEVICE_CODE),
            *("--scope", "openid email offline_access", "--access-token-format", "opaque"),
            *("--backchannel-logout-uri", told_at),
        )

        def post(path: str, name: str, **values: Any) -> requests.Response:
            found[f"the assertion of {name}"] = assertion = _signed(
                key, made["client_id"], people.origin, sub=made["client_id"]
            )
            proof = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
            return http.post(f"{people.origin}{path}", data={**proof, **values})

        found |= _sign_in(people, member, key, made["client_id"], post)
        found |= _lend_a_device(people, member, post)
        member.browser.fill("/logout", button="sign-out", follow=True)
        apps.wait_for("marked", 1)
        found |= {f"logout token {number}": token for number, token in enumerate(apps.tokens["marked"])}
    return found


def _sign_in(people: People, member: Member, key: Any, client_id: str, post: Any) -> dict[str, str]:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    request = _signed(
        key,
        client_id,
        people.origin,
        client_id=client_id,
        redirect_uri=URI,
        response_type="code",
        scope="openid email offline_access",
        code_challenge=challenge,
        code_challenge_method="S256",
        nonce="a-nonce-that-is-no-secret",
    )
    pushed = post("/oauth2/par", "the pushed request", request=request).json()
    query = urlencode({"client_id": client_id, "request_uri": pushed["request_uri"]})
    member.browser.get(f"/oauth2/authorize?{query}", follow=True)
    member.browser.fill(button="allow", follow=True)
    [code] = parse_qs(urlsplit(member.browser.location).query)["code"]
    redeem = {"grant_type": "authorization_code", "code": code, "redirect_uri": URI}
    wrong = "a-wrong-marked-verifier-" + "u" * 40
    assert post("/oauth2/token", "the wrong verifier", **redeem, code_verifier=wrong).status_code == 400
    member.browser.get(f"/oauth2/authorize?{query}", follow=True)
    assert member.browser.status == 400, "a pushed request is used once"
    return {
        "the signed request": request,
        "the pushed request's name": pushed["request_uri"],
        "the second code": code,
        "the second verifier": VERIFIER,
        "the wrong verifier": wrong,
    }


def _lend_a_device(people: People, member: Member, post: Any) -> dict[str, str]:
    scope = "openid email offline_access"
    started = post("/oauth2/device_authorization", "the device's question", scope=scope).json()
    member.browser.get(started["verification_uri_complete"].removeprefix(people.origin), follow=True)
    member.browser.fill(button="allow", follow=True)
    polling = {"grant_type": DEVICE_CODE, "device_code": started["device_code"]}
    tokens = post("/oauth2/token", "the device", **polling).json()
    refreshing = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    fresh = post("/oauth2/token", "the device's refresh", **refreshing).json()
    assert post("/oauth2/token", "the device again", **polling).status_code == 400
    return {
        "the device code": started["device_code"],
        "the device's opaque token": tokens["access_token"],
        "the device's ID token": tokens["id_token"],
        "the device's refresh token": tokens["refresh_token"],
        "the device's second opaque token": fresh["access_token"],
        "the device's second refresh token": fresh["refresh_token"],
    }


def _signed(key: Any, by: str, to: str, **claims: Any) -> str:
    now = int(time.time())
    usual = {"iss": by, "aud": to, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex}
    return sign({**usual, **claims}, key)


def bring_keys(people: People) -> dict[str, str]:
    """Two keys of an operator's, one after the other: the first has been replaced, the second signs."""
    found = {}
    for number in ("first", "second"):
        pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "services.oidc", "keys", "rotate", "--alg", "EdDSA"],
            cwd=ROOT,
            env={**people.suite.environ, "OIDC_PRIVATE_KEY_PEM": pem.decode()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        body = pem.decode().splitlines()[1]
        found[f"the {number} imported key"] = body
        seed = base64.b64decode(body)[-32:]
        found[f"the {number} imported key as a JWK"] = base64.urlsafe_b64encode(seed).decode().rstrip("=")
    return found
