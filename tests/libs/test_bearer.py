"""Access tokens of our issuer at our own APIs: what opens them, and everything that only looks like it."""

import base64
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from werkzeug.test import TestResponse

from libs.messaging.events import KeysChanged
from libs.people import denials
from libs.people.bearer import keys as issuer_keys
from libs.service import parts_of
from tests.conftest import receive, run_command, sign_in_copy
from tests.libs import sample
from tests.pages import ORIGIN, Browser

KEY = ECKey.generate_key("P-256")
OTHER_KEY = RSAKey.generate_key(2048)
OWN = "/api/v1/notes/own"
STAFF = "/api/v1/notes/staff"
FRESH = "/api/v1/notes/fresh"
_versions = iter(range(1, 1000))


def public(key: Any, kid: str, alg: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, "alg": alg, "use": "sig"}


def publish(app: Flask, *keys: dict[str, Any], version: int | None = None) -> str:
    event = KeysChanged(version=version or next(_versions), jwks={"keys": list(keys)})
    return receive(app, event, "oidc")


@pytest.fixture
def app(sample_app: Flask) -> Flask:
    """The sample service, told of two keys of the issuer."""
    assert publish(sample_app, public(KEY, "k1", "ES256"), public(OTHER_KEY, "k2", "RS256")) == "handled"
    return sample_app


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    values = {
        "iss": ORIGIN,
        "aud": f"{ORIGIN}/api",
        "sub": str(uuid.uuid4()),
        "client_id": "an-app",
        "scope": "me",
        "iat": now,
        "exp": now + 600,
        "jti": "one",
        "sid": str(uuid.uuid4()),
        "roles": [],
        "auth_time": now,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def signed(key: Any = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    wanted = {"alg": "ES256", "kid": "k1", "typ": "at+jwt", **(header or {})}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return jwt.encode(wanted, claims(**changes), key, algorithms=[wanted["alg"]])


def ask(app: Flask, token: str | None, path: str = OWN, **options: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return app.test_client().open(path, headers=headers, **options)


def is_refused(answer: TestResponse) -> bool:
    return (
        answer.status_code == 401
        and answer.mimetype == "application/problem+json"
        and 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    )


def test_a_token_of_ours_opens_what_its_scope_names(app: Flask) -> None:
    answer = ask(app, signed(sub="somebody"))
    assert (answer.status_code, answer.json) == (
        200,
        {"sub": "somebody", "client_id": "an-app", "roles": []},
    )
    assert answer.headers["Cache-Control"] == "no-store"
    for audience in ([ORIGIN, f"{ORIGIN}/api"], [f"{ORIGIN}/api"]):
        assert ask(app, signed(aud=audience)).status_code == 200


def test_nothing_presented_is_answered_with_the_scheme_alone(app: Flask) -> None:
    answer = ask(app, None)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
    assert answer.json["type"] == "urn:updspace-id:problem:no-token"
    for header in ("Basic YTpi", "Bearer", "Bearer ", "token"):
        page = app.test_client().get(OWN, headers={"Authorization": header})
        assert page.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_token_comes_by_the_header_alone(app: Flask) -> None:
    token = signed()
    assert ask(app, None, query_string={"access_token": token}).status_code == 401
    posted = ask(app, None, "/api/v1/notes/checked", method="POST", data={"access_token": token})
    assert posted.status_code == 401


def test_a_cookie_opens_nothing(app: Flask) -> None:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["admin"])
    assert browser.get("/mine").status_code == 200
    for path in (OWN, STAFF):
        assert browser.get(path).status_code == 401
    assert browser.post("/api/v1/notes/checked", json={"text": "by cookie"}).status_code == 401


def segment(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def hmac_signed(secret: bytes) -> str:
    # By hand: joserfc refuses to confuse the two kinds of key.
    part = f"{segment({'alg': 'HS256', 'kid': 'k1', 'typ': 'at+jwt'})}.{segment(claims())}"
    return f"{part}.{segment(hmac.digest(secret, part.encode(), 'sha256'))}"


def tricks() -> dict[str, str]:
    head, body, signature = signed().split(".")
    header = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    stranger = ECKey.generate_key("P-256")
    found = {
        f"alg {alg!r}": f"{segment({**header, 'alg': alg})}.{body}."
        for alg in ("none", "None", "NONE", "nOnE", "")
    }
    return found | {
        "alg none with a signature": f"{segment({**header, 'alg': 'none'})}.{body}.{signature}",
        "no alg": f"{segment({'kid': 'k1', 'typ': 'at+jwt'})}.{body}.{signature}",
        "alg of another kind": f"{segment({**header, 'alg': ['ES256']})}.{body}.{signature}",
        "a changed body": f"{head}.{segment(claims(roles=['admin']))}.{signature}",
        "no signature": f"{head}.{body}.",
        "a signature of zeros": f"{head}.{body}.{segment(bytes(64))}",
        "HMAC with our public PEM": hmac_signed(KEY.as_pem(private=False)),
        "HMAC with our public JWK": hmac_signed(json.dumps(public(KEY, "k1", "ES256")).encode()),
        "our other key under this kid": signed(OTHER_KEY, {"alg": "RS256"}),
        "this key under our other kid": signed(KEY, {"kid": "k2"}),
        "a stranger's key under our kid": signed(stranger),
        "a kid that nobody knows": signed(KEY, {"kid": "k9"}),
        "no kid": signed(KEY, {"kid": None}),
        "wild kid: path": signed(stranger, {"kid": "../../../../etc/passwd"}),
        "wild kid: SQL": signed(stranger, {"kid": "' OR 1=1 --"}),
        "wild kid: object": f"{segment({**header, 'kid': {'$ne': ''}})}.{body}.{signature}",
        "a key in the header": signed(stranger, {"jwk": stranger.as_dict(private=False)}),
        "the address of keys": signed(stranger, {"jku": "http://127.0.0.1:1/jwks.json"}),
        "the address of a certificate": signed(stranger, {"x5u": "http://127.0.0.1:1/cert.pem"}),
        "an unknown crit": f"{segment({**header, 'crit': ['exp'], 'exp': 1})}.{body}.{signature}",
        "one member more in a header that we signed": signed(KEY, {"cty": "x"}),
        "an ID token": signed(KEY, {"typ": "JWT"}),
        "a logout token": signed(KEY, {"typ": "logout+jwt"}),
        "no type": signed(KEY, {"typ": None}),
        "another issuer": signed(iss="https://evil.test"),
        "no issuer": signed(iss=None),
        "userinfo's audience": signed(aud=ORIGIN),
        "another audience": signed(aud="https://evil.test"),
        "other audiences": signed(aud=["https://evil.test", ORIGIN]),
        "an audience that begins like ours": signed(aud=f"{ORIGIN}/api/v2"),
        "no audience": signed(aud=None),
        "expired": signed(exp=int(time.time()) - 1),
        "no end": signed(exp=None),
        "an end that is no number": signed(exp="never"),
        "no subject": signed(sub=None),
        "no client": signed(client_id=None),
        "no scope": signed(scope=None),
        "a scope that is no text": signed(scope=["me"]),
        "header no JSON": f"{segment(b'{')}.{body}.{signature}",
        "header a list": f"{segment([1])}.{body}.{signature}",
        "header too deep": f"{segment(b'[' * 700)}.{body}.{signature}",
        "two tokens": f"{head}.{body}.{signature}, {head}.{body}.{signature}",
        "four parts": f"{head}.{body}.{signature}.{signature}",
        "five parts": f"{head}..{body}.{signature}.{signature}",
        "far too long": f"{head}.{'A' * 10_000}.{signature}",
        "not ASCII": f"{head}.{body}.ü",
        "nonsense": "nonsense",
    }


@pytest.mark.parametrize("trick", tricks())
def test_no_trick_opens_anything(app: Flask, trick: str) -> None:
    assert is_refused(ask(app, tricks()[trick])), trick


def test_a_scope_that_is_missing_is_named(app: Flask) -> None:
    answer = ask(app, signed(scope="openid users:write"))
    assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api", error="insufficient_scope", scope="me"'
    assert ask(app, signed(scope="users:read me")).status_code == 200


def test_a_person_needs_the_role_too_and_a_client_by_itself_the_scope_alone(app: Flask) -> None:
    def status(**changes: Any) -> int:
        return ask(app, signed(scope="users:read", **changes), STAFF).status_code

    assert status(roles=["support"]) == 200
    assert status(roles=["admin"]) == 200, "admin implies all"
    assert status(roles=["reviewer"]) == 403
    assert status(roles=None) == 403
    assert status(sub="an-app", sid=None, roles=None) == 200
    assert ask(app, signed(sub="an-app", sid=None, roles=None)).status_code == 403, "it is nobody's own"


def test_a_sign_in_that_is_too_old_is_asked_for_anew(app: Flask) -> None:
    now = int(time.time())
    fresh, old = signed(auth_time=now - 290), signed(auth_time=now - 310)
    assert ask(app, fresh, FRESH).status_code == 200
    answer = ask(app, old, FRESH)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.json["type"] == "urn:updspace-id:problem:stale-sign-in"
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="api", error="insufficient_user_authentication", max_age="300"'
    )
    assert ask(app, signed(auth_time=None), FRESH).status_code == 401, "nobody knows when they signed in"
    assert is_refused(ask(app, signed(auth_time="lately"), FRESH))
    assert ask(app, old).status_code == 200, "elsewhere it still does"


def test_a_client_by_itself_never_signs_in(app: Flask) -> None:
    by_itself = signed(sub="an-app", sid=None, roles=None, auth_time=None, scope="users:read")
    assert ask(app, by_itself, f"{FRESH}-staff").status_code == 200
    old = {"scope": "users:read", "auth_time": int(time.time()) - 310}
    assert ask(app, signed(**old, roles=["support"]), f"{FRESH}-staff").status_code == 401
    assert ask(app, signed(**old), f"{FRESH}-staff").status_code == 403, "a sign-in would not help"


def test_a_denial_ends_what_was_issued_before_it(app: Flask) -> None:
    parts, now = parts_of(app), int(time.time())
    sub, sid = str(uuid.uuid4()), str(uuid.uuid4())
    assert ask(app, signed(sub=sub, sid=sid)).status_code == 200
    denials.deny(parts.redis, parts.settings, sids=[sid])
    assert is_refused(ask(app, signed(sub=sub, sid=sid)))
    assert ask(app, signed(sub=sub)).status_code == 200, "another session's"
    assert ask(app, signed(sub=sub, sid=None)).status_code == 200, "one of offline_access outlives sessions"
    denials.deny(parts.redis, parts.settings, subs=[sub])
    assert is_refused(ask(app, signed(sub=sub)))
    assert is_refused(ask(app, signed(sub=sub, sid=None)))
    assert ask(app, signed(sub=sub, iat=now + 5)).status_code == 200, "issued after it"


@pytest.fixture
def redis_away(app: Flask) -> Iterator[None]:
    parts = parts_of(app)
    real, parts.redis = parts.redis, redis.Redis(port=1, decode_responses=True, retry=None)
    yield
    parts.redis = real


def test_with_redis_away_nobody_can_say_and_the_answer_is_a_prompt_503(app: Flask, redis_away: None) -> None:
    began = time.monotonic()
    answer = ask(app, signed())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.mimetype == "application/problem+json"
    assert time.monotonic() - began < 3
    assert is_refused(ask(app, signed(exp=1))), "what is wrong in itself is refused all the same"


def test_keys_are_taken_in_the_order_in_which_they_were_published(app: Flask) -> None:
    newest = ECKey.generate_key("P-256")
    old = next(_versions)
    publish(app, public(newest, "k3", "ES256"))
    assert ask(app, signed(newest, {"kid": "k3"})).status_code == 200
    assert is_refused(ask(app, signed())), "a key withdrawn opens nothing any more"
    publish(app, public(KEY, "k1", "ES256"), version=old)
    assert is_refused(ask(app, signed())), "an older set that comes late changes nothing"


def test_a_key_of_a_kind_we_do_not_know_keeps_nobody_out(app: Flask) -> None:
    odd = {"kty": "oct", "k": segment(b"secret" * 8), "kid": "k4", "alg": "HS256", "use": "sig"}
    disguised = {**odd, "kid": "k5", "alg": "ES256"}
    broken = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k6", "alg": "ES256", "use": "sig"}
    publish(app, odd, disguised, broken, {"kty": "OKP"}, public(KEY, "k1", "ES256"))
    assert ask(app, signed()).status_code == 200
    for kid in ("k4", "k5", "k6"):
        assert is_refused(ask(app, signed(KEY, {"kid": kid})))


def test_before_the_issuer_has_told_its_keys_nobody_can_say(app: Flask, log_text: Callable[[], str]) -> None:
    publish(app)
    answer = ask(app, signed())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "issuer_keys_missing" in log_text()
    assert is_refused(ask(app, "nonsense"))
    publish(app, public(KEY, "k1", "ES256"))
    assert ask(app, signed()).status_code == 200


def test_after_a_restore_nobody_can_say_until_the_issuer_has_told_its_new_keys(app: Flask) -> None:
    """Redis has forgotten who was denied, so whatever a key of before has signed opens nothing."""
    told = next(_versions)
    publish(app, public(KEY, "k1", "ES256"), version=told)
    assert ask(app, signed()).status_code == 200
    for _ in range(2):
        assert run_command(app, "restored", "--yes").exit_code == 0
        publish(app, public(KEY, "k1", "ES256"), version=told)
        answer = ask(app, signed())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    newest = ECKey.generate_key("P-256")
    publish(app, public(newest, "k8", "ES256"))
    assert ask(app, signed(newest, {"kid": "k8"})).status_code == 200
    assert is_refused(ask(app, signed()))


def test_another_process_sees_a_new_key_at_its_first_token(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = ECKey.generate_key("P-256")
    assert ask(app, signed()).status_code == 200
    with monkeypatch.context() as elsewhere:
        # As if another process had handled the event: this one is told nothing.
        elsewhere.setattr(sample.issuer_keys, "forget", lambda: None)
        publish(app, public(newest, "k7", "ES256"))
        elsewhere.setattr(issuer_keys, "LOOK_INTERVAL", timedelta(0))
        assert ask(app, signed(newest, {"kid": "k7"})).status_code == 200


def test_kids_that_nobody_knows_ask_the_database_once_a_second(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(app, signed()).status_code == 200
    asked = []
    real = sample.db.fetch_one
    monkeypatch.setattr(sample.db, "fetch_one", lambda statement: asked.append(1) or real(statement))
    for number in range(50):
        assert is_refused(ask(app, signed(KEY, {"kid": f"unknown-{number}"})))
    assert len(asked) <= 1 + 50 // 10, "fifty guesses do not make fifty queries"


def test_the_keys_known_last_serve_on_while_the_database_is_away(
    app: Flask, monkeypatch: pytest.MonkeyPatch, log_text: Callable[[], str]
) -> None:
    assert ask(app, signed()).status_code == 200

    def away(_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(sample.db, "fetch_one", away)
    sample.issuer_keys.forget()
    assert ask(app, signed()).status_code == 200
    assert "issuer_keys_not_read" in log_text()
    monkeypatch.setattr(sample.issuer_keys, "_by_kid", None)
    answer = ask(app, signed())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
