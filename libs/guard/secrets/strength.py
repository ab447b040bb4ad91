"""What makes a secret too weak to start with; every answer is the end of a sentence and repeats nothing of it."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import unquote, urlsplit

MIN_SECRET_LENGTH = 32
MIN_DISTINCT = 8
MIN_ENTROPY_BITS = 72
"""Of the whole, as the frequency of its signs tells: far below what 32 random hexadecimal digits have."""
BEGINNINGS = ("change", "placeholder", "secret", "password", "example", "test-", "todo", "dummy", "dev-")
"""How placeholders begin."""
WORDS = (
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "change_this",
    "replaceme",
    "replace-me",
    "replace_me",
    "placeholder",
    "insecure",
    "your-secret",
    "your_secret",
    "secret-key",
    "secret_key",
    "secretkey",
    "password",
    "letmein",
    "qwerty",
    "12345678",
    "abcdefgh",
    "deadbeef",
)
"""What stands anywhere in them; long enough that chance writes none of it into a random secret."""
RINGS = ("DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS")
_URL = re.compile(r"[a-z0-9+]+://")


@dataclass(frozen=True)
class Held:
    """One secret that a setting holds: a ring and a list hold several, an address at most its password."""

    setting: str
    value: bytes = field(repr=False)


def is_weak(value: str) -> str | None:
    """Why this text is no secret; None when nothing is against it."""
    if not value:
        return "is not set."
    if len(value) < MIN_SECRET_LENGTH:
        return f"is too short: {MIN_SECRET_LENGTH} characters are the least."
    if len(set(value)) < MIN_DISTINCT or value.lower().startswith(BEGINNINGS[:5]):
        return "looks like a placeholder: generate a random one."
    return None


def is_guessable(value: str) -> str | None:
    """The stricter look outside development: known placeholders, series, repetitions, too little variety."""
    lowered = value.lower()
    if lowered.startswith(BEGINNINGS) or any(word in lowered for word in WORDS):
        return "looks like a placeholder: generate a random one."
    if _is_patterned(lowered.encode()) or _entropy_bits(value.encode()) < MIN_ENTROPY_BITS:
        return "can be guessed, for it repeats or counts up: generate a random one."
    return None


def is_no_key(key: bytes) -> str | None:
    """Why 32 bytes are no key: they are text, a series or a repetition; chance makes none of these."""
    if all(0x20 <= byte < 0x7F for byte in key):
        return "holds a key that is text and not 32 random bytes: generate one."
    if _is_patterned(key) or len(set(key)) < MIN_DISTINCT * 2:
        return "holds a key that can be guessed, for it repeats or counts up: generate one."
    return None


def _is_patterned(value: bytes) -> bool:
    repeats = value in (value + value)[1:-1]
    steps = Counter((after - before) % 256 for before, after in pairwise(value))
    return repeats or (bool(steps) and max(steps.values()) > len(value) / 2)


def _entropy_bits(value: bytes) -> float:
    """Shannon's measure of the signs, times how many there are."""
    size = len(value)
    return -sum(count * math.log2(count / size) for count in Counter(value).values())


def held_by(setting: str, value: str | Sequence[str]) -> Iterator[Held]:
    """The secrets in what a setting says. The secret of an address is its password."""
    if not isinstance(value, str):
        for part in value:
            yield Held(setting, part.encode())
    elif setting in RINGS:
        for entry in filter(None, (part.strip() for part in value.split(","))):
            yield Held(setting, entry.partition(":")[2].encode())
    elif _URL.match(value):
        password = password_of(value)
        if password:
            yield Held(setting, password.encode())
    elif value:
        yield Held(setting, value.encode())


def password_of(url: str) -> str:
    """The password in an address; empty where there is none."""
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""


def find_shared(secrets: Iterable[Held]) -> tuple[str, str] | None:
    """Two settings that hold one secret, or one that holds it twice."""
    seen: dict[bytes, str] = {}
    for held in secrets:
        if held.value in seen:
            return seen[held.value], held.setting
        seen[held.value] = held.setting
    return None
