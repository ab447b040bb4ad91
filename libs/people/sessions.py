"""The sign-in session that all services share: cookie, fast copy in Redis, denials. Rows are account's alone."""

import dataclasses
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import redis
from flask import Response, current_app, g, request

from libs.settings import Settings

FORMAT = 1
MAX_ACCOUNTS = 5
"""How many signed-in accounts one browser holds; the first is current."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class SessionsUnavailable(Exception):
    """Redis could not be asked: nobody knows here who is signed in."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A person signed in on one browser, as every service sees it. Times are epoch seconds."""

    sid: str
    """Public UUID of the session; never the secret."""
    sub: str
    auth_time: int
    """When the person last proved who they are."""
    amr: list[str]
    """Authentication methods used (RFC 8176)."""
    acr: str
    """`1` one factor, `2` two, `phr` a passkey with the person verified."""
    roles: list[str]
    status: str
    claims: dict[str, Any]
    """Snapshot of the standard claims, so that the issuer can answer before user_changed arrived."""
    claims_version: int
    absolute_end: int
    v: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """Read a copy; None when it is of a format this release does not know, or past its absolute end."""
        try:
            values = json.loads(text)
            known = {field.name for field in dataclasses.fields(cls)}
            session = cls(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, AttributeError):
            return None
        if session.v != FORMAT or session.absolute_end <= datetime.now(UTC).timestamp():
            return None
        return session

    def has_role(self, *roles: str) -> bool:
        """Whether the person holds one of the roles; `admin` implies all."""
        return "admin" in self.roles or any(role in self.roles for role in roles)


def make_secret() -> str:
    """A new session secret: 32 random bytes, base64url."""
    return secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """What is stored of a session secret: SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def copy_key(digest: str) -> str:
    return f"sess:{digest}"


def cookie_name(settings: Settings) -> str:
    return "__Host-id_session" if settings.is_secure else "id_session"


def cookie_secrets(settings: Settings) -> list[str]:
    """The secrets in the browser's cookie, current first; anything malformed is left out."""
    raw = request.cookies.get(cookie_name(settings), "")
    return [part for part in raw.split(".")[:MAX_ACCOUNTS] if _SECRET.match(part)]


def set_cookie(
    response: Response, settings: Settings, secret_list: list[str], *, life: timedelta | None = None
) -> None:
    """Give the browser these sessions, current first; an empty list clears the cookie.

    `life` is how long a session lives at most: the browser must not forget one that is used all the time.
    """
    name = cookie_name(settings)
    if not secret_list:
        response.delete_cookie(name, path="/", secure=settings.is_secure, httponly=True, samesite="Lax")
        return
    response.set_cookie(
        name,
        ".".join(secret_list[:MAX_ACCOUNTS]),
        max_age=int((life or settings.SESSION_IDLE_LIFETIME).total_seconds()),
        path="/",
        secure=settings.is_secure,
        httponly=True,
        samesite="Lax",
    )


def has_cookie(settings: Settings) -> bool:
    return cookie_name(settings) in request.cookies


# Reads a copy, starts its idle life again (never past the absolute end) and notes the use, in one round trip.
_READ_AND_NOTE_USE = """
local text = redis.call('GET', KEYS[1])
if not text then return false end
local ok, session = pcall(cjson.decode, text)
if not ok or not session.sid or not session.absolute_end then return text end
local life = math.min(tonumber(ARGV[1]), session.absolute_end - tonumber(ARGV[2]))
if life > 0 then
  redis.call('EXPIRE', KEYS[1], life)
  redis.call('SET', 'seen:' .. session.sid, ARGV[2], 'EX', life)
end
return text
"""


def current_session() -> Session | None:
    """The signed-in person of this request, read once; None when there is no cookie or no copy of it.

    In account the row answers where the copy cannot. Raises SessionsUnavailable when Redis is away elsewhere.
    """
    if "sign_in_session" not in g:
        try:
            g.sign_in_session = _read()
        except Exception as error:
            # The error page asks again: it must not wait for the same store a second time.
            g.sign_in_session = error
    found: Session | Exception | None = g.sign_in_session
    if isinstance(found, Exception):
        raise found
    return found


def _read() -> Session | None:
    from libs.service import parts_of

    parts = parts_of(current_app)
    found = cookie_secrets(parts.settings)
    if not found:
        return None
    digest = secret_digest(found[0])
    try:
        session = read_copy(parts.redis, digest, parts.settings)
    except redis.RedisError as error:
        if parts.find_session is None:
            raise SessionsUnavailable from error
        session = None
    if session is None and parts.find_session is not None:
        session = parts.find_session(digest)
    return session if session is not None and session.status == "active" else None


def read_copy(client: redis.Redis, digest: str, settings: Settings) -> Session | None:
    """The fast copy under this digest. Raises redis.RedisError when Redis is away."""
    key = copy_key(digest)
    idle = int(settings.SESSION_IDLE_LIFETIME.total_seconds())
    try:
        text = client.register_script(_READ_AND_NOTE_USE)(keys=[key], args=[idle, int(time.time())])
    except redis.ResponseError:
        # Full (noeviction): reading still works, noting the use can wait.
        text = client.get(key)
    return Session.from_json(text) if text else None
