"""Single-use tokens: made once, stored as a hash, found by it."""

import hashlib
import secrets

TOKEN_BYTES = 32


def make() -> tuple[str, str]:
    """A fresh token (base64url of 32 random bytes) and the hash to store."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, digest(token)


def digest(token: str) -> str:
    """SHA-256 in hex: enough for a secret of 256 random bits, where a password would need argon2."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
