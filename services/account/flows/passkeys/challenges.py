"""Challenges: sealed into a ticket that the browser brings back with the answer; a row is written when one is spent.

Asking writes nothing, so that whoever only looks at a page leaves no trace. A ticket is good for one use, one browser
and whom it was made for; its challenge counts once, by a primary key.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any

from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.guard import single_use
from libs.people.handover import TICKET_LIFETIME, InvalidTicket, open_ticket, seal_ticket
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.models import SpentChallenge

CHALLENGE_BYTES = 32
MAX_TICKET = 4000
SIGN_IN, SECOND_FACTOR, ADD, ENROL = "sign_in", "second_factor", "add", "enrol"
"""What a passkey is asked for."""


class ChallengeEnded(Problem):
    """The challenge is too old, answered already, or another browser's, person's or use's."""

    status, slug = 409, "challenge-ended"
    title = lazy_gettext("This took too long, or was answered already")

    def __init__(self) -> None:
        super().__init__(gettext("Please try again."))


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What an answer has to answer, and the handle of whoever gets a new passkey."""

    value: bytes = field(repr=False)
    sub: str | None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a browser needs to ask an authenticator: the options of WebAuthn, and the ticket to bring back."""

    options: dict[str, Any]
    ticket: str = field(repr=False)


def make_challenge() -> bytes:
    return secrets.token_bytes(CHALLENGE_BYTES)


def seal_challenge(
    challenge: bytes, *, use: str, browser: str, whose: str | None = None, sub: str | None = None
) -> str:
    """The ticket of a challenge. `browser` tells one browser from all others, `whose` is who alone may answer."""
    content = {"challenge": challenge.hex(), "browser": browser, "whose": whose, "sub": sub}
    settings = parts_of(current_app).settings
    return seal_ticket(settings, purpose=f"passkey.{use}", audience="account", content=content)


def open_challenge(ticket: str, *, use: str, browser: str, whose: str | None = None) -> Challenge:
    """The challenge that this browser brings an answer to. Raises ChallengeEnded."""
    settings = parts_of(current_app).settings
    try:
        content = open_ticket(settings, ticket[:MAX_TICKET], purpose=f"passkey.{use}", audience="account")
    except InvalidTicket:
        raise ChallengeEnded from None
    if not hmac.compare_digest(content["browser"], browser) or content["whose"] != whose:
        raise ChallengeEnded
    return Challenge(value=bytes.fromhex(content["challenge"]), sub=content["sub"])


def spending(challenge: Challenge) -> Insert:
    """The statement that spends it; it writes a row the first time alone."""
    return (
        insert(SpentChallenge)
        .values(digest=single_use.digest(challenge.value.hex()), expires_at=utcnow() + TICKET_LIFETIME)
        .on_conflict_do_nothing()
    )


def spend(session: DatabaseSession, challenge: Challenge) -> None:
    """Count the answer, in the transaction under way; once. Raises ChallengeEnded."""
    spent = session.execute(spending(challenge).returning(SpentChallenge.digest))
    if spent.scalar_one_or_none() is None:
        raise ChallengeEnded
