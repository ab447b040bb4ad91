"""Idempotency keys: a POST that is sent again is answered as before, and done once.

`Idempotency-Key` is that of draft-ietf-httpapi-idempotency-key-header. The answer is kept in the transaction that
has the effect, so that a crash leaves neither; two requests of one key exclude each other by an advisory lock,
which ends with that transaction, however it ends.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Response, json, request
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import JSONB

from libs.database import Database, Timestamp, utcnow
from libs.guard.ratelimit import counted_address
from libs.people.bearer import bearer_name
from libs.web.client_address import client_address
from libs.web.problems import Problem

View = TypeVar("View", bound=Callable[..., Any])

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
"""The header of an answer that was given before."""
LIFETIME = timedelta(hours=24)
"""How long a key is known; after that it is a new one."""
LONGEST_KEY = 255
KEPT_HEADERS = ("Location", "ETag")
CLEARED_AT_ONCE = 1000
# The draft's key is a string of RFC 8941, in quotes; most programs send it bare.
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x5b\x5d-\x7e]+)')


class BadKey(Problem):
    """The header holds what is no key."""

    status, slug = 400, "bad-idempotency-key"
    title = lazy_gettext("The Idempotency-Key must be up to 255 printable characters")


class KeyReused(Problem):
    """The key was sent with another request: one of the two is a mistake."""

    status, slug = 422, "idempotency-key-reused"
    title = lazy_gettext("This Idempotency-Key was used for another request")


class StillUnderWay(Problem):
    """The first request of this key is not answered yet."""

    status, slug = 409, "request-under-way"
    title = lazy_gettext("The first request with this Idempotency-Key is still under way")


class Idempotency:
    """The table of one service in which answers wait for requests that come again."""

    def __init__(self, db: Database):
        self.db = db
        self.table = sa.Table(
            "idempotency_keys",
            db.metadata,
            # Of operation, caller and key: two callers never meet, and no key is kept as it was sent.
            sa.Column("digest", sa.Text, primary_key=True),
            sa.Column("operation", sa.Text, nullable=False),
            sa.Column("fingerprint", sa.Text, nullable=False),
            sa.Column("status", sa.SmallInteger, nullable=False),
            sa.Column("headers", JSONB, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("created_at", Timestamp, nullable=False, default=utcnow, index=True),
        )

    def once(self, operation: str, *, secrets: Collection[str] = ()) -> Callable[[View], View]:
        """Do what a view does once per key and caller; it stands around the whole view, its `@bp.response` included.

        `secrets` are members of the answer that are shown once: they are null in what is kept, and when it is given
        again. Only success is kept: what was refused changed nothing, and may be tried again under its key.
        """

        def decorate(view: View) -> View:
            @wraps(view)
            def run(*args: Any, **kwargs: Any) -> Any:
                key = _key()
                if key is None:
                    return view(*args, **kwargs)
                return self._run_once(view, operation, key, secrets, args, kwargs)

            note = run.__dict__.setdefault("_apidoc", {})
            note["idempotent"] = True
            note["problems"] = (
                *note.get("problems", ()),
                BadKey.status,
                StillUnderWay.status,
                KeyReused.status,
            )
            return run  # type: ignore[return-value]

        return decorate

    def _run_once(
        self, view: Any, operation: str, key: str, secrets: Collection[str], args: Any, kwargs: Any
    ) -> Response:
        digest = _hash(operation, _caller(), key)
        fingerprint = _hash(request.method, request.full_path, request.get_data())
        with self.db.transaction() as session:
            # Waiting for the first one would hold a connection and a worker for as long as that takes.
            lock = sa.func.pg_try_advisory_xact_lock(int(digest[:15], 16))
            if not session.scalar(sa.select(lock)):
                raise StillUnderWay(retry_after=1)
            known = session.execute(sa.select(self.table).where(self.table.c.digest == digest)).one_or_none()
            if known is not None and known.created_at > utcnow() - LIFETIME:
                if known.fingerprint != fingerprint:
                    raise KeyReused
                headers = {**known.headers, REPLAYED: "true"}
                return Response(known.body, known.status, headers, content_type="application/json")
            response: Response = view(*args, **kwargs)
            session.execute(sa.delete(self.table).where(self.table.c.digest == digest))
            session.execute(
                self.table.insert().values(
                    digest=digest,
                    operation=operation,
                    fingerprint=fingerprint,
                    status=response.status_code,
                    headers={
                        name: response.headers[name] for name in KEPT_HEADERS if name in response.headers
                    },
                    body=_without(secrets, response.get_data(as_text=True)),
                )
            )
            return response

    def forget_old(self) -> int:
        """Delete keys that are no longer known, at most a thousand a call. Returns how many."""
        with self.db.transaction() as session:
            old = (
                sa.select(self.table.c.digest)
                .where(self.table.c.created_at < utcnow() - LIFETIME)
                .limit(CLEARED_AT_ONCE)
            )
            return session.execute(  # type: ignore[attr-defined]
                sa.delete(self.table).where(self.table.c.digest.in_(old))
            ).rowcount


def _key() -> str | None:
    """The request's key, without its quotes; None where it has none. Raises BadKey."""
    text = request.headers.get(HEADER)
    if text is None:
        return None
    found = _KEY.fullmatch(text.strip()) if len(text) <= LONGEST_KEY + 2 else None
    key = (found[1] or found[2]) if found else ""
    if not 0 < len(key) <= LONGEST_KEY:
        raise BadKey
    return key


def _caller() -> str:
    """Whose keys count together: a bearer's, or where nobody has to say who they are those of one address."""
    return bearer_name() or f"ip:{counted_address(client_address())}"


def _hash(*parts: str | bytes) -> str:
    """One hash of several parts, none of which can pass for a piece of its neighbour."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def _without(secrets: Collection[str], body: str) -> str:
    if not secrets:
        return body
    members = json.loads(body)
    return json.dumps({**members, **{name: None for name in secrets if name in members}})
