"""What tests about passwords share: asking and answering, time that passes, further factors, counted work."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.account.conftest import (
    Person,
    execute,
    link_in,
    mails_to,
    rows,
)
from tests.pages import Browser

NEW_PASSWORD = "yellow umbrella over the quiet river"


def answer(app: Flask) -> None:
    """What the worker does, a moment after somebody asked."""
    with app.app_context():
        parts_of(app).tasks.functions["account.answer_password_requests"]()


def ask(app: Flask, email: str, *, ip: str = "127.0.0.1") -> Browser:
    browser = Browser(app, ip=ip)
    browser.fill("/password/forgot", email=email)
    answer(app)
    return browser


def mailed_link(app: Flask, email: str) -> str:
    ask(app, email)
    return link_in(mails_to(app, email, "reset_password")[-1])


def age(app: Flask, sub: str, minutes: int) -> None:
    """Let time pass for a person's links."""
    execute(
        app,
        "UPDATE password_links l SET created_at = l.created_at - make_interval(mins => :minutes),"
        " expires_at = l.expires_at - make_interval(mins => :minutes)"
        " FROM users WHERE users.id = user_id AND sub = :sub",
        minutes=minutes,
        sub=sub,
    )


def add_totp(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO totp_credentials (id, user_id, seed_sealed, last_step, created_at, confirmed_at)"
        " SELECT :id, id, 'x', 0, now(), now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        sub=person.sub,
    )


def add_passkey(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO passkeys (id, user_id, credential_id, public_key, sign_count, transports, is_synced, name,"
        " created_at) SELECT :id, id, :key, 'x', 0, '{}', false, 'Key', now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        key=uuid.uuid4().bytes,
        sub=person.sub,
    )


def link_provider(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO linked_identities (id, user_id, provider, issuer, subject, name, created_at)"
        " SELECT :id, id, 'github', 'https://github.test', :subject, 'ann', now() FROM users WHERE sub = :sub",
        id=uuid.uuid4(),
        subject=str(uuid.uuid4()),
        sub=person.sub,
    )


def without_password(app: Flask, person: Person) -> None:
    """Leave the person whatever else they sign in with."""
    execute(
        app,
        "DELETE FROM password_credentials USING users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )


def password_hash(app: Flask, person: Person) -> str:
    query = "SELECT hash FROM password_credentials JOIN users ON id = user_id WHERE sub = :sub"
    [row] = rows(app, query, sub=person.sub)
    return str(row.hash)


class Work:
    """The statements and hashes that a request cost."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.hashes = 0


@contextmanager
def counted(app: Flask) -> Iterator[Work]:
    work, here, passwords = Work(), threading.get_ident(), app.extensions["passwords"]
    real = passwords._hasher

    class Counting:
        def verify(self, *arguments: object) -> object:
            work.hashes += 1
            return real.verify(*arguments)

        def hash(self, *arguments: object) -> object:
            work.hashes += 1
            return real.hash(*arguments)

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if threading.get_ident() == here:
            work.statements.append(statement)

    with app.app_context():
        engine = parts_of(app).db.engine
    passwords._hasher = Counting()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield work
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
        passwords._hasher = real


def things_of(app: Flask, person: Person) -> int:
    return sum(
        len(
            rows(
                app, f"SELECT 1 FROM {table} JOIN users u ON u.id = user_id WHERE sub = :sub", sub=person.sub
            )
        )
        for table in ("passkeys", "totp_credentials", "linked_identities")
    )
