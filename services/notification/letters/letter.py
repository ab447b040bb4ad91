"""What a letter is: a class per mail, its fields the context that a request must bring.

How a letter becomes text and HTML is in writing.py. A field's type says how its value is read: `str` is one
line, `Words` may have several, `Digits` are typed into a page, `Count` is a number of things, `Link` leads to our own
origin, `Moment` is a point in time.
"""

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NewType, Self

from flask_babel import format_datetime
from flask_babel import gettext as _

Words = NewType("Words", str)
Digits = NewType("Digits", str)
Count = NewType("Count", int)
Link = NewType("Link", str)
Moment = NewType("Moment", datetime)

LONGEST_LINE = 200
LONGEST_WORDS = 4000
# Control characters, and the ones that turn the direction of what follows them.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_DIGITS = re.compile(r"[0-9]{4,12}\Z")
_COUNT = re.compile(r"[0-9]{1,9}\Z")
_NOT_IN_LINKS = re.compile(r"[\s\x00-\x20\x7f<>\"'\\]")


class UnusableContext(ValueError):
    """The context lacks a key, or holds what cannot be its value. The message names the key alone."""


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Button:
    label: str
    link: str
    kind: str = "primary"
    """`danger` is what nobody presses who has nothing to fear."""


@dataclass(frozen=True)
class Code:
    """Digits to type into a page: large, and in groups that the eye can hold."""

    digits: str

    @property
    def groups(self) -> str:
        return " ".join(self.digits[start : start + 4] for start in range(0, len(self.digits), 4))


@dataclass(frozen=True)
class Quotation:
    """Somebody's own words, line breaks and all."""

    text: str


@dataclass(frozen=True)
class Reference:
    """Where more stands, for later: a sentence and its address, quieter than a button."""

    text: str
    link: str


Block = Paragraph | Button | Code | Quotation | Reference


@dataclass(frozen=True, kw_only=True, repr=False)
class Letter:
    """A mail with its context, which never prints. subject() and blocks() speak the language of the moment."""

    NAME: ClassVar[str]
    IS_SECURITY: ClassVar[bool] = False
    """Whether it guards an account: such mail is always tried, whatever else keeps us from writing to the address."""

    name: str

    @classmethod
    def read(cls, context: Mapping[str, Any], *, public_url: str) -> Self:
        """The letter of a request's context. Raises UnusableContext.

        Keys it does not know are ignored, and one whose field has a default may be missing: the service that asks may
        be of the release before.
        """
        hints = _hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name not in context:
                if field.default is dataclasses.MISSING:
                    raise UnusableContext(field.name)
                continue
            values[field.name] = _read(field.name, context[field.name], hints[field.name], public_url)
        return cls(**values)

    def subject(self) -> str:
        raise NotImplementedError

    def blocks(self, public_url: str) -> list[Block]:
        raise NotImplementedError

    def greeting(self) -> str:
        return _("Hello %(name)s,", name=self.name) if self.name else _("Hello,")


_HINTS: dict[type[Letter], dict[str, Any]] = {}


def _hints(letter: type[Letter]) -> dict[str, Any]:
    """What its fields are, resolved once."""
    if letter not in _HINTS:
        _HINTS[letter] = typing.get_type_hints(letter)
    return _HINTS[letter]


def _read(key: str, value: Any, kind: Any, public_url: str) -> Any:
    """Bring a value into the form of its field's type. Raises UnusableContext."""
    if type(None) in typing.get_args(kind):
        if value is None or value == "":
            return None
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if kind is Count and type(value) is int:
        value = str(value)
    if not isinstance(value, str):
        raise UnusableContext(key)
    if kind is Count:
        if not _COUNT.match(value):
            raise UnusableContext(key)
        return int(value)
    if kind is Words:
        lines = (_UNSEEN.sub(" ", line).rstrip() for line in value.strip().splitlines())
        return "\n".join(lines)[:LONGEST_WORDS]
    if kind is Digits:
        if not _DIGITS.match(value):
            raise UnusableContext(key)
        return value
    if kind is Link:
        # A mail of ours leads nowhere else, whoever asked for it.
        if not value.startswith(public_url + "/") or _NOT_IN_LINKS.search(value):
            raise UnusableContext(key)
        return value
    if kind is Moment:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise UnusableContext(key) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return one_line(value)


def one_line(text: str) -> str:
    """Text that stays on its line and in its direction, whatever somebody typed as a name."""
    return " ".join(_UNSEEN.sub(" ", text).split())[:LONGEST_LINE]


def in_words(value: datetime) -> str:
    """A point in time as a reader without a time zone understands it."""
    return format_datetime(value.astimezone(UTC), "d MMMM y, HH:mm") + " UTC"


_INVENTED: Mapping[Any, Any] = {
    str: "Ada Lovelace",
    Words: "We keep places for people of the region.\nPlease apply again next year.",
    Digits: "12345678",
    Count: 3,
    Moment: datetime(2030, 1, 31, 18, 30, tzinfo=UTC),
}
_INVENTED_BY_NAME: Mapping[str, str] = {
    "account": "ada",
    "address": "198.51.100.7",
    "country": "DE",
    "device": "Firefox, Linux",
    "passkey": "YubiKey",
    "provider": "GitHub",
}


def sample(letter: type[Letter], *, public_url: str) -> Letter:
    """A letter with invented content, to look at."""
    hints = _hints(letter)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(letter):
        kind = (typing.get_args(hints[field.name]) or (hints[field.name],))[0]
        if kind is Link:
            values[field.name] = f"{public_url}/preview?token=an-invented-token"
        else:
            values[field.name] = _INVENTED_BY_NAME.get(field.name, _INVENTED[kind])
    return letter(**values)
