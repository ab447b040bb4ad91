"""A software authenticator: makes passkeys and answers with them as a real one would, and wrongly on demand."""

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.pages import ORIGIN

PRESENT, VERIFIED, SYNCABLE, SYNCED, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


def text(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def raw(value: str) -> bytes:
    return urlsafe_b64decode(value + "===")


@dataclass
class Passkey:
    """A key as its authenticator keeps it."""

    handle: bytes
    is_synced: bool
    count: int = 0
    """Of 0 it never counts, as synced ones do."""
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    key: Any = field(default_factory=lambda: new_key("ES256"))

    def cose(self) -> bytes:
        public = self.key.public_key()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return cbor2.dumps({1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()})
        numbers = public.public_numbers()
        if isinstance(self.key, rsa.RSAPrivateKey):
            return cbor2.dumps({1: 3, 3: -257, -1: numbers.n.to_bytes(256, "big"), -2: b"\x01\x00\x01"})
        size, alg, curve = (32, -7, 1) if self.key.curve.name == "secp256r1" else (66, -36, 3)
        point = {-2: numbers.x.to_bytes(size, "big"), -3: numbers.y.to_bytes(size, "big")}
        return cbor2.dumps({1: 2, 3: alg, -1: curve, **point})

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        signature: bytes = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return signature


def new_key(algorithm: str) -> Any:
    """A private key for an algorithm of COSE, by its name."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP521R1() if algorithm == "ES512" else ec.SECP256R1())


@dataclass
class Authenticator:
    """Says what it is told to: another origin, no verification, a wrong challenge."""

    origin: str = ORIGIN
    rp_id: str = "localhost"
    is_synced: bool = False
    algorithm: str = "ES256"
    counts: bool = True
    verifies: bool = True
    challenge: bytes | None = None
    """Instead of the one that it is asked with."""
    cross_origin: bool = False

    def make(self, options: dict[str, Any]) -> tuple[Passkey, dict[str, Any]]:
        """A new passkey, and the answer that tells of it."""
        passkey = Passkey(
            handle=raw(options["user"]["id"]),
            is_synced=self.is_synced,
            count=1 if self.counts else 0,
            key=new_key(self.algorithm),
        )
        data = self._data(passkey, ATTESTED)
        data += bytes(16) + struct.pack(">H", len(passkey.credential_id)) + passkey.credential_id
        data += passkey.cose()
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": text(self._client_data("webauthn.create", options)),
            "attestationObject": text(attestation),
            "transports": ["internal", "hybrid", "carrier-pigeon"],
        }
        return passkey, self._credential(passkey, response)

    def answer(self, passkey: Passkey, options: dict[str, Any]) -> dict[str, Any]:
        if passkey.count:
            passkey.count += 1
        data = self._data(passkey)
        client_data = self._client_data("webauthn.get", options)
        response = {
            "clientDataJSON": text(client_data),
            "authenticatorData": text(data),
            "signature": text(passkey.sign(data + hashlib.sha256(client_data).digest())),
            "userHandle": text(passkey.handle),
        }
        return self._credential(passkey, response)

    def _data(self, passkey: Passkey, flags: int = 0) -> bytes:
        flags |= PRESENT | (VERIFIED if self.verifies else 0)
        flags |= SYNCABLE | SYNCED if passkey.is_synced else 0
        return hashlib.sha256(self.rp_id.encode()).digest() + struct.pack(">BI", flags, passkey.count)

    def _client_data(self, kind: str, options: dict[str, Any]) -> bytes:
        challenge = text(self.challenge) if self.challenge is not None else options["challenge"]
        return json.dumps(
            {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        ).encode()

    def _credential(self, passkey: Passkey, response: dict[str, Any]) -> dict[str, Any]:
        identity = text(passkey.credential_id)
        return {"id": identity, "rawId": identity, "type": "public-key", "response": response}
