"""Device authorization (RFC 8628): a device shows a short code, and its person confirms it in a browser elsewhere.

What waits for its person is in Redis, under hashes of both codes; what was confirmed is a grant whose code is the
device code, so that it is spent once like any other.
"""

import dataclasses
import json
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Self

import redis
import sqlalchemy as sa
from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint
from flask import current_app
from flask_babel import gettext

from libs.guard import single_use
from libs.guard.ratelimit import counted_address, hashed_user
from libs.observe.logs import get_logger
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.metadata import DEVICE_CODE
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.consent import give_consent
from services.oidc.flows.resources import scopes_at
from services.oidc.models import Grant
from services.oidc.protocol.authorization.codes import SignInRevoked, store_grant
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants.targets import narrowed
from services.oidc.protocol.requests import FormRequest
from services.oidc.scopes import OFFLINE_ACCESS, held_by

log = get_logger("OIDC.device")

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word, and nothing that looks like a digit (§6.1)."""
USER_CODE_LENGTH = 8
INTERVAL_S = 5
"""How long a device waits between two questions."""
KNOWN_AFTER_END_S = 600
"""How long a code that has expired is still told apart from one that never was."""


class State(Enum):
    WAITING = "waiting"
    DENIED = "denied"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, kw_only=True)
class DeviceRequest:
    """What a device asks for; times are epoch seconds."""

    client_id: str
    scopes: list[str]
    resources: list[str]
    expires_at: int
    state: str = State.WAITING.value

    @property
    def is_over(self) -> bool:
        return self.expires_at <= time.time()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


class DeviceRequests:
    """Where they are kept. Every method raises redis.RedisError when Redis is away or full."""

    def __init__(self, client: redis.Redis):
        self.client: Any = client

    def open(self, request: DeviceRequest, device_digest: str, user_code: str) -> bool:
        """Keep it. False when its user code is somebody else's at the moment."""
        life = int(request.expires_at - time.time())
        if not self.client.set(_by_user_code(user_code), device_digest, ex=life, nx=True):
            return False
        self.client.set(_by_device(device_digest), request.to_json(), ex=life + KNOWN_AFTER_END_S)
        return True

    def find(self, device_digest: str) -> DeviceRequest | None:
        text = self.client.get(_by_device(device_digest))
        return DeviceRequest.from_json(text) if text else None

    def find_by_user_code(self, user_code: str) -> tuple[str, DeviceRequest] | None:
        """The digest of its device code, and what waits; None for a code that is wrong, old or answered."""
        digest = self.client.get(_by_user_code(user_code))
        request = self.find(digest) if digest else None
        if request is None or request.is_over or request.state != State.WAITING.value:
            return None
        return digest, request

    def close(self, device_digest: str, user_code: str, request: DeviceRequest, state: State) -> None:
        """Keep the person's answer, for the device's next question."""
        answered = dataclasses.replace(request, state=state.value)
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set(_by_device(device_digest), answered.to_json(), keepttl=True, xx=True)
        pipeline.delete(_by_user_code(user_code))
        pipeline.execute()

    def is_too_fast(self, device_digest: str) -> bool:
        """Whether the device asked less than the interval ago (§3.5)."""
        # A second less: a network may well bring two questions nearer to each other than they were sent.
        key = f"device_asked:{device_digest}"
        return not self.client.set(key, 1, ex=INTERVAL_S - 1, nx=True)


def device_requests() -> DeviceRequests:
    return DeviceRequests(parts_of(current_app).redis)


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    """Authlib's endpoint, answering with what waits in Redis."""

    CLIENT_AUTH_METHODS = list(METHODS)

    def create_endpoint_response(self, request: FormRequest) -> tuple[int, dict[str, Any], Any]:
        return 200, _open(self.authenticate_client(request), request), default_json_headers


def _open(client: RegisteredClient, request: FormRequest) -> dict[str, Any]:
    """What a device is told (§3.2). Raises OAuth2Error."""
    settings = parts_of(current_app).settings
    if DEVICE_CODE not in client.grants:
        raise UnauthorizedClientError("The client is not registered for this grant type.")
    scopes, resources = _wishes(client, request)
    device_code, digest = single_use.make()
    life = int(settings.DEVICE_CODE_LIFETIME.total_seconds())
    for _ in range(5):
        user_code = "".join(secrets.choice(LETTERS) for _ in range(USER_CODE_LENGTH))
        kept = DeviceRequest(
            client_id=client.client_id,
            scopes=scopes,
            resources=resources,
            expires_at=int(time.time()) + life,
        )
        if device_requests().open(kept, digest, user_code):
            break
    else:
        raise redis.RedisError("no free user code")
    shown = in_groups(user_code)
    return {
        "device_code": device_code,
        "user_code": shown,
        "verification_uri": f"{settings.PUBLIC_URL}/device",
        "verification_uri_complete": f"{settings.PUBLIC_URL}/device?user_code={shown}",
        "expires_in": life,
        "interval": INTERVAL_S,
    }


def _wishes(client: RegisteredClient, request: FormRequest) -> tuple[list[str], list[str]]:
    """Scopes and resources of a request. Raises InvalidScopeError, InvalidTarget."""
    scopes = list(dict.fromkeys((request.form.get("scope") or "").split())) or sorted(
        client.scopes & {"openid", "profile", "email"}
    )
    if not scopes or any(word not in client.scopes for word in scopes):
        raise InvalidScopeError
    if "refresh_token" not in client.grants:
        scopes = [word for word in scopes if word != OFFLINE_ACCESS]
    resources = narrowed(request.resources, scope=" ".join(scopes))
    wanted = scopes_at(scopes, resources=resources)
    if not wanted:
        raise InvalidScopeError
    return wanted, resources


def read_user_code(typed: str) -> str | None:
    """What somebody typed as a code, without what people add: blanks, hyphens, small letters (§6.1)."""
    letters = "".join(sign for sign in typed[:100].upper() if sign.isalnum())
    return letters if len(letters) == USER_CODE_LENGTH and set(letters) <= set(LETTERS) else None


def in_groups(user_code: str) -> str:
    """The code as it is shown: XXXX-XXXX."""
    return f"{user_code[:4]}-{user_code[4:]}"


def _by_device(digest: str) -> str:
    return f"device:{digest}"


def _by_user_code(user_code: str) -> str:
    # Hashed: the names of keys show up in places where their content does not.
    return f"device_user_code:{single_use.digest(user_code)}"


# -- the person's side -------------------------------------------------------------------------------------------

MOST_GUESSES = 5
"""Wrong codes of one person, or twenty of one address, within GUESSES_FORGOTTEN_S (§5.1)."""
MOST_GUESSES_OF_ADDRESS = 20
GUESSES_FORGOTTEN_S = 600


class NoSuchCode(Exception):
    """There is nothing to confirm: the code is wrong, old, answered, or one too many was wrong."""

    def __init__(self, reason: str = "", retry_after: int = 0):
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


_GIVEN_BY = sa.select(Grant.id).where(
    Grant.code_digest == sa.bindparam("digest"), Grant.sub == sa.bindparam("by")
)


def _wrong() -> str:
    return gettext("This code is wrong, or it is too old. Look at the device again.")


@dataclass(frozen=True)
class Found:
    """What waits under a user code."""

    user_code: str
    """Letters alone. Only its hash is kept: the person brings it, and compares it with what the device shows."""
    digest: str
    """Of the device code."""
    request: DeviceRequest


def look_up(typed: str, *, session: Session, ip: str) -> Found:
    """What the device of this code asks for. Raises NoSuchCode."""
    return _find(typed, session, ip)


def confirm(typed: str, *, session: Session, ip: str) -> None:
    """The person lets the device in. Raises NoSuchCode."""
    found = _find(typed, session, ip)
    request = found.request
    client = find_client(request.client_id)
    scopes = held_by(request.scopes, roles=session.roles)
    if client is None or not client.may_be_used_by(session.roles) or not scopes:
        raise NoSuchCode(gettext("This app is not for you: nothing was allowed."))
    try:
        store_grant(
            session,
            kind="device_code",
            client_id=client.client_id,
            scopes=scopes,
            resources=request.resources,
            code_digest=found.digest,
            code_lifetime=timedelta(seconds=request.expires_at - time.time()),
        )
    except SignInRevoked:
        raise NoSuchCode(gettext("You were signed out meanwhile. Sign in and try again.")) from None
    except sa.exc.IntegrityError:
        # Pressed twice, and the first time counted; unless somebody else, who was shown the same code, was faster.
        if db.fetch_one(_GIVEN_BY, {"digest": found.digest, "by": session.sub}) is None:
            raise NoSuchCode(_wrong()) from None
    give_consent(sub=session.sub, client_id=client.client_id, scopes=scopes)
    device_requests().close(found.digest, found.user_code, request, State.CONFIRMED)
    log.info("device_confirmed", client_id=client.client_id, sub=session.sub)


def deny(typed: str, *, session: Session, ip: str) -> None:
    """The person does not. Raises NoSuchCode."""
    found = _find(typed, session, ip)
    device_requests().close(found.digest, found.user_code, found.request, State.DENIED)
    log.info("device_denied", client_id=found.request.client_id, sub=session.sub)


def _find(typed: str, session: Session, ip: str) -> Found:
    """What waits under a typed code. Every try counts until it was right, so that side by side they count, too."""
    parts = parts_of(current_app)
    redis_client: Any = parts.redis
    limits = {
        f"rl:device:user:{hashed_user(parts.settings, session.sub)}:": MOST_GUESSES,
        f"rl:device:ip:{counted_address(ip)}:": MOST_GUESSES_OF_ADDRESS,
    }
    counting = redis_client.pipeline(transaction=True)
    for key in limits:
        counting.incr(key)
        counting.expire(key, GUESSES_FORGOTTEN_S, nx=True)
        counting.ttl(key)
    answers = counting.execute()
    for most, count, ttl in zip(limits.values(), answers[::3], answers[2::3], strict=True):
        if count > most:
            parts.metrics.rate_limit_triggered.labels(scope="device").inc()
            raise NoSuchCode(retry_after=max(ttl, 1))
    user_code = read_user_code(typed)
    waiting = device_requests().find_by_user_code(user_code) if user_code else None
    if user_code is None or waiting is None or find_client(waiting[1].client_id) is None:
        raise NoSuchCode(_wrong())
    giving_back = redis_client.pipeline(transaction=False)
    for key in limits:
        giving_back.decr(key)
    giving_back.execute()
    return Found(user_code, *waiting)
