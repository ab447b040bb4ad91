"""A small service, assembled as the real ones are, on which the promises of libs are tested."""

from dataclasses import dataclass
from typing import Any, ClassVar

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import generate_csrf
from marshmallow import fields, validate
from sqlalchemy.orm import Mapped, mapped_column

from libs.audit import Audit
from libs.database import Database
from libs.guard.ratelimit import RateLimiter
from libs.messaging.events import AccountOpened, Event, KeysChanged, MailRequested
from libs.messaging.inbox import Inbox
from libs.messaging.outbox import Outbox
from libs.messaging.worker import Tasks
from libs.people.access import bearer, current_session, protocol, public, signed_in, staff
from libs.people.bearer import current_bearer
from libs.people.bearer.keys import IssuerKeys
from libs.service import Stores, create_service
from libs.settings import ServiceSettings
from libs.web.api import APIBlueprint, Input, Shape, expected_versions, page, page_query, tagged
from libs.web.problems import Problem

# The name of a real service, so that its events find their way back to this inbox.
NAME = "notification"

db = Database()
audit = Audit(db)
outbox = Outbox(db, NAME)
inbox = Inbox(db, NAME)
tasks = Tasks(NAME)
limiter = RateLimiter()
issuer_keys = IssuerKeys(db)
stores = Stores(db=db, audit=audit, outbox=outbox, inbox=inbox, tasks=tasks, issuer_keys=issuer_keys)
bp = Blueprint("sample", __name__)
api = APIBlueprint("notes", __name__, limiter=limiter, description="Notes.")
broken: set[str] = set()


class Note(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@dataclass(frozen=True, kw_only=True)
class SampleSettings(ServiceSettings):
    SERVICE: ClassVar[str] = NAME


class TooShort(Problem):
    status, slug, title = 422, "too-short", "Too short"


@bp.get("/open")
@public
def open_page() -> str:
    return "open"


@bp.route("/mine", methods=["GET", "POST"])
@signed_in
def mine() -> str:
    return current_session().sub


@bp.get("/sensitive")
@signed_in(fresh=True)
def sensitive() -> str:
    return "sensitive"


@bp.post("/sensitive")
@signed_in(fresh=True)
def do_sensitive() -> str:
    return f"done: {request.form['reason']}"


@bp.get("/sensitive-form")
@signed_in
def sensitive_form() -> str:
    return str(generate_csrf())


@bp.get("/desk")
@staff("reviewer")
def desk() -> str:
    return "desk"


@bp.post("/machine")
@protocol("clients of the issuer bring no cookie")
def machine() -> str:
    return "machine"


@bp.get("/undeclared")
def undeclared() -> str:
    return "nobody may see this"


@bp.get("/crash")
@public
def crash() -> str:
    raise RuntimeError("hunter2 password=hunter2")


@bp.get("/database-error")
@public
def database_error() -> str:
    from sqlalchemy import text

    db.session.execute(text("SELECT pg_sleep(:n) / 0"), {"n": 0})
    return "never"


@bp.get("/notes")
@public
def count_notes() -> str:
    return str(db.session.query(Note).count())


@bp.route("/api/v1/notes", methods=["POST"])
@public
def api_note() -> ResponseReturnValue:
    text = (request.get_json(silent=True) or {}).get("text", "")
    if len(text) < 3:
        raise TooShort("Write three letters or more.", errors={"text": "Three letters are the least."})
    return jsonify(id=write_note(text=text)), 201


@bp.post("/limited")
@limiter.limit("login", "3 per minute")
@public
def limited() -> str:
    return "in"


@bp.post("/limited-by-the-hour")
@limiter.limit("register", "1 per hour")
@public
def limited_by_the_hour() -> str:
    return "in"


@bp.route("/path/<name>", methods=["GET", "POST"])
@signed_in
def odd_path(name: str) -> str:
    return name


@bp.route("/keep", methods=["POST"])
@protocol("a client that sends what no column can keep")
def keep() -> ResponseReturnValue:
    with db.transaction() as session:
        session.add(Note(id=request.args.get("id", type=int), text=request.get_json()["text"]))
    return "kept", 201


@bp.get("/api/v1/cookie")
@signed_in
def api_by_cookie() -> str:
    return "a cookie must not authenticate here"


class NoteSchema(Shape):
    """A note."""

    id = fields.Integer(required=True)
    text = fields.String(required=True)


class NoteInput(Input):
    """A new note."""

    text = fields.String(required=True, validate=validate.Length(3))
    tags = fields.List(fields.String())


@api.get("/api/v1/notes/own")
@bearer("me")
@api.response(200)
def own_api() -> dict[str, Any]:
    """Say who is there."""
    found = current_bearer()
    return {"sub": found.sub, "client_id": found.client_id, "roles": list(found.roles)}


@api.get("/api/v1/notes/staff")
@bearer("users:read", role="support")
@api.response(200)
def staff_api() -> dict[str, Any]:
    """Say who is there, to staff."""
    return own_api()


@api.get("/api/v1/notes/fresh")
@bearer("me", fresh=True)
@api.response(200)
def fresh_api() -> dict[str, Any]:
    """Say who is there, and has just signed in."""
    return own_api()


@api.get("/api/v1/notes/fresh-staff")
@bearer("users:read", role="support", fresh=True)
@api.response(200)
def fresh_staff_api() -> dict[str, Any]:
    """Say who is there, to staff who have just signed in."""
    return own_api()


@api.post("/api/v1/notes/checked")
@bearer("me")
@api.arguments(NoteInput)
@api.response(201, NoteSchema)
def checked_api(values: dict[str, Any]) -> dict[str, Any]:
    """Write a note."""
    return {"id": write_note(text=values["text"]), **values}


@api.get("/api/v1/notes/listed")
@bearer("me")
@api.arguments(page_query(int), location="query")
@api.page_of(NoteSchema)
def listed_api(wanted: dict[str, Any]) -> Any:
    """List the numbers from 99 down."""
    (before,) = wanted.get("cursor", (100,))
    found = [{"id": number, "text": str(number)} for number in range(before - 1, -1, -1)]
    return page(found[: wanted["limit"] + 1], limit=wanted["limit"], keys=lambda note: [note["id"]])


@api.route("/api/v1/notes/state", methods=["GET", "PUT"])
@bearer("me")
@api.response(200, NoteSchema)
@api.versioned
def state_api() -> Any:
    """A thing in its seventh state."""
    if request.method == "PUT":
        versions = expected_versions()
        if versions is not None and 7 not in versions:
            raise TooShort
    return tagged({"id": 1, "text": "seven"}, 7)


def write_note(*, text: str, fail: bool = False) -> int:
    """A flow: a row, an audit entry, an event."""
    with db.transaction() as session:
        note = Note(text=text)
        session.add(note)
        session.flush()
        audit.record("note.written", target=f"note:{note.id}", after={"text": text, "token": "abc"})
        outbox.record(
            MailRequested(
                template="note",
                recipient="a@b.test",
                locale="en",
                context={"text": text},
                deduplication_key=text,
            )
        )
        if fail:
            raise TooShort
        return note.id


handled: list[Any] = []


def handle(event: Event) -> None:
    key = getattr(event, "deduplication_key", None) or getattr(event, "application_id", "")
    with db.transaction() as session:
        session.add(Note(text=f"handled {key}"))
    if key in broken:
        raise ValueError(f"cannot handle {key}")
    handled.append(event)


def take_keys(event: KeysChanged) -> None:
    issuer_keys.remember(version=event.version, jwks=event.jwks)


@tasks.task
def remember(text: str) -> None:
    """A task of the sample service."""
    with db.transaction() as session:
        session.add(Note(text=text))


def create_app(settings: SampleSettings | None = None) -> Flask:
    settings = settings or SampleSettings.load_or_exit()
    return create_service(
        __name__,
        settings,
        name=NAME,
        limiter=limiter,
        stores=stores,
        blueprints=[bp],
        api=[api],
        handlers={MailRequested: handle, AccountOpened: handle, KeysChanged: take_keys},
    )
