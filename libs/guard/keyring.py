"""Encryption at rest and in events: AES-256-GCM under named keys, and keys derived from SECRET_KEY."""

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
KEY_BYTES = 32


class CannotOpen(Exception):
    """Sealed text was changed, belongs elsewhere, or its key is gone. Its message holds no content."""


def derive(secret: str, purpose: str) -> bytes:
    """One 32-byte key per purpose from a shared secret (HKDF-SHA256, RFC 5869)."""
    return HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"updspace-id {purpose}".encode()
    ).derive(secret.encode())


@dataclass(frozen=True)
class KeyRing:
    """Keys in order: the first seals, all open. Sealed text is `kid:base64url(nonce + ciphertext)`."""

    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, setting: str) -> Self:
        """Read `kid:base64 of 32 bytes`, comma-separated. Raises SettingsError naming the setting."""
        from libs.settings import SettingsError

        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            kid, _, encoded = entry.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except ValueError:
                key = b""
            if not kid or len(key) != KEY_BYTES or kid in keys:
                raise SettingsError(
                    f"{setting} must be kid:base64 of 32 bytes, comma-separated, each kid once."
                )
            keys[kid] = key
        if not keys:
            raise SettingsError(f"{setting} is not set.")
        return cls(keys)

    @classmethod
    def derived(cls, secret: str, fallbacks: tuple[str, ...], *, purpose: str) -> Self:
        """A ring of keys derived from SECRET_KEY and its fallbacks, named by their fingerprints."""
        derived = [derive(value, purpose) for value in (secret, *fallbacks)]
        return cls({hashlib.sha256(key).hexdigest()[:8]: key for key in derived})

    @property
    def first(self) -> str:
        """The kid of the key that seals."""
        return next(iter(self.keys))

    def seal(self, content: bytes, associated: str) -> str:
        """Encrypt under the first key; `associated` says where the content belongs (`table.column:id`)."""
        kid, key = next(iter(self.keys.items()))
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, content, associated.encode())
        return f"{kid}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, sealed: str, associated: str) -> bytes:
        """Decrypt what seal() made for the same place. Raises CannotOpen."""
        kid, _, encoded = sealed.partition(":")
        key = self.keys.get(kid)
        try:
            blob = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except ValueError:
            raise CannotOpen("not sealed text") from None
        if key is None:
            raise CannotOpen("sealed under a key that is not in the ring")
        try:
            return AESGCM(key).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], associated.encode())
        except (InvalidTag, ValueError):
            raise CannotOpen("changed, or sealed for another place") from None
