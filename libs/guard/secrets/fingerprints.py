"""Fingerprints of secrets: short, one-way, the same in every process that holds the same; for comparing by eye.

Keys are 32 random bytes, and a hash of them tells nothing. What a person may have invented is hashed slowly
(SECRET_KEY itself) or under a key of SECRET_KEY, so that nobody can try guesses against what is printed.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Any

from libs.guard.keyring import KeyRing, derive
from libs.guard.secrets.strength import RINGS

DIGITS = 12
_LABEL = b"updspace-id fingerprint"


def of_key(key: bytes) -> str:
    """Of a key of a ring."""
    return hashlib.sha256(_LABEL + b"\0" + key).hexdigest()[:DIGITS]


@lru_cache(maxsize=32)
def of_secret_key(value: str) -> str:
    """Of SECRET_KEY or one of its fallbacks; takes some hundredths of a second on purpose, once a process."""
    return hashlib.scrypt(value.encode(), salt=_LABEL, n=2**14, r=8, p=1, dklen=16).hex()[:DIGITS]


def of_text(value: str, secret_key: str) -> str:
    """Of any other secret, comparable between processes that share SECRET_KEY."""
    return hmac.new(derive(secret_key, "fingerprint"), value.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def of_ring(text: str, *, setting: str) -> dict[str, str]:
    """Of each key of a ring, by kid, the one that seals first."""
    return {kid: of_key(key) for kid, key in KeyRing.parse(text, setting=setting).keys.items()}


def compared(settings: Any) -> dict[str, Any]:
    """What processes tell one another of their secrets, so that one that lags behind is found."""
    return {
        "SECRET_KEY": of_secret_key(settings.SECRET_KEY),
        "SECRET_KEY_FALLBACKS": [of_secret_key(value) for value in settings.SECRET_KEY_FALLBACKS],
        **{
            name: [list(pair) for pair in of_ring(getattr(settings, name), setting=name).items()]
            for name in RINGS
        },
    }
