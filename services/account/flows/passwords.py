"""Passwords: what one must be (NIST 800-63B-4 §3.1.1), how it is kept (argon2id), how many are hashed at once."""

import threading
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import Flask, current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.web.problems import Problem, Unavailable
from services.account.flows.blocklist import is_guessable
from services.account.flows.strength import Estimate, estimate
from services.account.models import PasswordCredential
from services.account.settings import AccountSettings

RETRY_BUSY_AFTER_S = 2
LEAST_POWER = 9.0
"""A password that fewer than ten to this many guesses find is refused, whatever it is made of."""
UNUSABLE = ""
"""What stands for the hash of a password that was taken away: nothing has it."""
HARD_POWER, VERY_HARD_POWER = 13.0, 18.0


class PasswordRefused(Problem):
    """The password breaks a rule; the message beside the field says which."""

    status, slug, title = 422, "password-refused", lazy_gettext("This password cannot be used")


class TooBusy(Unavailable):
    """More passwords wait to be hashed than this process hashes in time."""


class Passwords:
    """Hashes and checks passwords under the settings' cost, so many side by side and no more."""

    def __init__(self, settings: AccountSettings):
        self.min_length = settings.PASSWORD_MIN_LENGTH
        self.max_length = settings.PASSWORD_MAX_LENGTH
        self._hasher = PasswordHasher(
            time_cost=settings.ARGON2_TIME_COST,
            memory_cost=settings.ARGON2_MEMORY_KIB,
            parallelism=settings.ARGON2_PARALLELISM,
        )
        self._turns = threading.BoundedSemaphore(settings.HASHING_CONCURRENCY)
        self._wait_s = settings.HASHING_WAIT_MS / 1000
        # What is checked for people whom nobody knows, so that they cost the same time.
        self._nobodys = self._hasher.hash(uuid.uuid4().hex)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._wait_s):
            raise TooBusy(gettext("Please try again in a moment."), retry_after=RETRY_BUSY_AFTER_S)
        try:
            yield
        finally:
            self._turns.release()

    def hash(self, password: str) -> str:
        """The argon2id hash to store. Raises TooBusy."""
        with self._turn():
            return self._hasher.hash(_encoded(password))

    def is_right(self, password: str, stored: str | None) -> bool:
        """Whether the password has this hash; the same work when there is none. Raises TooBusy."""
        possible = len(password) <= self.max_length * 4  # longer than any that was ever accepted
        with self._turn():
            try:
                self._hasher.verify(stored or self._nobodys, _encoded(password) if possible else b"")
            except (VerificationError, InvalidHashError):
                return False
        return bool(stored) and possible

    def needs_rehash(self, stored: str) -> bool:
        """Whether the settings ask for more work than this hash took."""
        return self._hasher.check_needs_rehash(stored)

    def check(self, password: str, *, context: Iterable[str]) -> None:
        """Hold a new password to the rules. `context` is what a guesser would try for this person.

        Length counts Unicode code points after normalisation; there are no composition rules.
        Raises PasswordRefused.
        """
        context = list(context)
        message = self._wrong_length(password)
        if message is None and self._is_guessable(password, context, estimate(password, context=context)):
            message = gettext(
                "This one is easy to guess: it repeats itself, or is made of very common words, your name or your "
                "address. Choose something only you would think of."
            )
        if message is not None:
            raise PasswordRefused(errors={"password": message})

    def hint(self, password: str, *, context: Iterable[str]) -> "Hint":
        """How hard a password is to guess, and one advice; nothing is hashed and nothing kept."""
        context = list(context)
        wrong_length = self._wrong_length(password)
        if wrong_length is not None:
            return Hint(kind="bad", verdict=wrong_length, advice=_general_advice())
        found = estimate(password, context=context)
        if self._is_guessable(password, context, found):
            verdict = gettext("Easy to guess: we would not take it.")
            return Hint(kind="bad", verdict=verdict, advice=_advice(found))
        if found.power < HARD_POWER:
            return Hint(kind="info", verdict=gettext("Not easy to guess."), advice=_general_advice())
        verdict = (
            gettext("Hard to guess.") if found.power < VERY_HARD_POWER else gettext("Very hard to guess.")
        )
        return Hint(kind="good", verdict=verdict, advice=gettext("Use it here alone, and nowhere else."))

    def _wrong_length(self, password: str) -> str | None:
        words = unicodedata.normalize("NFKC", password[: self.max_length * 4])
        if len(words) < self.min_length:
            return gettext("Use at least %(count)s characters.", count=self.min_length)
        if len(password) > self.max_length * 4 or len(words) > self.max_length:
            return gettext("Use at most %(count)s characters.", count=self.max_length)
        return None

    def _is_guessable(self, password: str, context: list[str], found: Estimate) -> bool:
        return found.power < LEAST_POWER or is_guessable(password, context)


@dataclass(frozen=True, kw_only=True)
class Hint:
    """What a page says about a password that was typed: `kind` is bad, info or good."""

    kind: str
    verdict: str
    advice: str


def _advice(found: Estimate) -> str:
    """What to do about that which makes it guessable."""
    words = {
        "repetition": gettext("It repeats itself: what is typed twice is hardly harder to guess than once."),
        "keys": gettext("Keys that lie in a row are tried early: use words instead."),
        "sequence": gettext("Letters and numbers in their order are tried early: use words instead."),
        "date": gettext("Years and dates are tried early: use words that have nothing to do with you."),
        "own_word": gettext("Your name, your address and our name are tried first: leave them out."),
        "name": gettext("Names are tried early: use words that have nothing to do with each other."),
        "common_password": gettext("A part of it is a password of many people: replace that part."),
    }
    return words.get(found.weakness or "", _general_advice())


def _general_advice() -> str:
    return gettext("Add a few words that nobody would expect beside each other.")


def _encoded(password: str) -> bytes:
    """One password typed on two keyboards is one password: NFKC (NIST 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def init_passwords(app: Flask, settings: AccountSettings) -> None:
    app.extensions["passwords"] = Passwords(settings)


def passwords() -> Passwords:
    """The current app's passwords."""
    found: Passwords = current_app.extensions["passwords"]
    return found


def store_first_password(session: DatabaseSession, *, user_id: uuid.UUID, hashed: str) -> bool:
    """Give a person their first password, in the transaction under way. False when they have one already."""
    result = session.execute(
        insert(PasswordCredential)
        .values(user_id=user_id, hash=hashed, changed_at=utcnow())
        .on_conflict_do_nothing()
        .returning(PasswordCredential.user_id)
    )
    return result.scalar_one_or_none() is not None


def replace_password(session: DatabaseSession, *, user_id: uuid.UUID, hashed: str) -> None:
    """Give a person this password whatever they had, in the transaction under way."""
    now = utcnow()
    session.execute(
        insert(PasswordCredential)
        .values(user_id=user_id, hash=hashed, changed_at=now)
        .on_conflict_do_update(index_elements=["user_id"], set_={"hash": hashed, "changed_at": now})
    )


def make_unusable(session: DatabaseSession, *, user_id: uuid.UUID) -> None:
    """Have no password open the account, in the transaction under way, until a new one is set.

    The row stays: an account whose password was taken away is not one that never had any.
    """
    session.execute(
        sa.update(PasswordCredential)
        .where(PasswordCredential.user_id == user_id)
        .values(hash=UNUSABLE, changed_at=utcnow())
        .execution_options(synchronize_session=False)
    )
