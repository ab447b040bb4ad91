"""Key pairs before they are rows: made here, or read from what an operator brings; sealed, and opened again."""

import base64
import binascii
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from libs.guard.keyring import KeyRing
from libs.people.bearer.tokens import KINDS
from libs.settings import SettingsError

RSA_BITS = 2048
MOST_RSA_BITS = 4096
"""A longer signature would make tokens that no header holds."""
MAX_KID_LENGTH = 200
PAIR_MEMBERS = {"kid", "private_key_pem", "public_key_pem"}


@dataclass(frozen=True, kw_only=True)
class Material:
    """A key pair, or its public half alone."""

    kid: str
    alg: str
    public_jwk: dict[str, Any]
    thumbprint: str
    """RFC 7638: the same key has the same one, whatever it is called."""
    private_pem: bytes | None = field(repr=False)
    """PKCS #8."""


# -- made here ---------------------------------------------------------------------------------------------------


def make_material(alg: str) -> Material:
    """A new pair for one of KINDS."""
    key: RSAKey | ECKey | OKPKey
    if KINDS[alg] == "RSA":
        key = RSAKey.generate_key(RSA_BITS)
    elif KINDS[alg] == "EC":
        key = ECKey.generate_key("P-256")
    else:
        key = OKPKey.generate_key("Ed25519")
    return _material(alg, key.as_pem(private=True))


def seal(material: Material, key_id: uuid.UUID, data_keys: KeyRing) -> str | None:
    """The private half as the row of this id keeps it."""
    if material.private_pem is None:
        return None
    return data_keys.seal(material.private_pem, place(key_id))


def open_private_key(row: Any, data_keys: KeyRing) -> bytes:
    """The private half of a row, PKCS #8 PEM. Raises CannotOpen."""
    return data_keys.open(row.private_key_sealed, place(row.id))


def parse(alg: str, data: bytes | dict[str, Any]) -> RSAKey | ECKey | OKPKey:
    """A PEM or a JWK as the key that signs or verifies by this algorithm."""
    kind: Any = KINDS[alg]
    key: RSAKey | ECKey | OKPKey = import_key(data, kind)
    return key


def thumbprint_of(public_jwk: dict[str, Any]) -> str:
    return import_key(public_jwk).thumbprint()


def _material(
    alg: str, private_pem: bytes | None, public_pem: bytes = b"", kid: str | None = None
) -> Material:
    key = parse(alg, private_pem or public_pem)
    thumbprint = key.thumbprint()
    kid = kid or thumbprint
    public_jwk = {**key.as_dict(private=False), "kid": kid, "alg": alg, "use": "sig"}
    return Material(kid=kid, alg=alg, public_jwk=public_jwk, thumbprint=thumbprint, private_pem=private_pem)


def place(key_id: Any) -> str:
    """Where a private half belongs, for the key ring."""
    return f"signing_keys.private_key_sealed:{key_id}"


# -- brought by an operator ----------------------------------------------------------------------------------------


def given_material(settings: Any) -> list[Material]:
    """What OIDC_PRIVATE_KEY_PEM and OIDC_KEY_PAIRS hold, each key once. Raises SettingsError."""
    found: list[Material] = []
    private, public = settings.OIDC_PRIVATE_KEY_PEM, settings.OIDC_PUBLIC_KEY_PEM
    if private:
        found.append(_read_pair(private, public, "OIDC_PRIVATE_KEY_PEM", "OIDC_PUBLIC_KEY_PEM"))
    elif public:
        raise SettingsError("OIDC_PUBLIC_KEY_PEM is set without OIDC_PRIVATE_KEY_PEM, which it belongs to.")
    found += _read_pairs(settings.OIDC_KEY_PAIRS) if settings.OIDC_KEY_PAIRS else []
    once: dict[str, Material] = {}
    for material in found:
        once.setdefault(material.thumbprint, material)
    return list(once.values())


def _read_pairs(text: str) -> list[Material]:
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(
            'OIDC_KEY_PAIRS must be a JSON list of {"kid", "private_key_pem", "public_key_pem"}.'
        )
    found = []
    for number, row in enumerate(rows, 1):
        where = f"OIDC_KEY_PAIRS (entry {number})"
        if unknown := sorted(set(row) - PAIR_MEMBERS):
            raise SettingsError(f"{where} has a member that means nothing: {unknown[0]!r}.")
        if not all(isinstance(value, str) for value in row.values() if value is not None):
            raise SettingsError(f"{where} has a member that is no text.")
        kid = row.get("kid") or None
        if kid is not None and (len(kid) > MAX_KID_LENGTH or not kid.isprintable()):
            raise SettingsError(
                f"{where} has a kid that is longer than {MAX_KID_LENGTH} characters, or unprintable."
            )
        private, public = row.get("private_key_pem") or "", row.get("public_key_pem") or ""
        if not private and not public:
            raise SettingsError(f"{where} has no key.")
        found.append(
            _read_pair(private, public, f"{where}, private_key_pem", f"{where}, public_key_pem", kid)
        )
    kids = [material.kid for material in found]
    if len(set(kids)) < len(kids):
        raise SettingsError("OIDC_KEY_PAIRS has a kid twice.")
    return found


def _read_pair(
    private: str, public: str, private_name: str, public_name: str, kid: str | None = None
) -> Material:
    """Both halves, or either. Raises SettingsError."""
    public_key: Any = _read_public(public, public_name) if public else None
    if not private:
        pem = public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return _material(_algorithm_of(public_key, public_name), None, pem, kid)
    private_key = _read_private(private, private_name)
    if public_key is not None and private_key.public_key() != public_key:
        raise SettingsError(f"{public_name} does not belong to {private_name}.")
    alg = _algorithm_of(private_key.public_key(), private_name)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _material(alg, pem, kid=kid)


def _algorithm_of(public_key: Any, name: str) -> str:
    """What a key of this kind signs by. Raises SettingsError."""
    if isinstance(public_key, rsa.RSAPublicKey) and RSA_BITS <= public_key.key_size <= MOST_RSA_BITS:
        return "RS256"
    if isinstance(public_key, ec.EllipticCurvePublicKey) and isinstance(public_key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "EdDSA"
    raise SettingsError(
        f"{name} must be an RSA key of {RSA_BITS} to {MOST_RSA_BITS} bits, of P-256 or Ed25519."
    )


def _read_private(text: str, name: str) -> Any:
    try:
        return serialization.load_pem_private_key(_pem(text), None)
    except TypeError:
        raise SettingsError(f"{name} is encrypted: it must come without a passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{name} must be a private key in PEM, or base64 of that.") from None


def _read_public(text: str, name: str) -> Any:
    try:
        return serialization.load_pem_public_key(_pem(text))
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{name} must be a public key in PEM, or base64 of that.") from None


def _pem(text: str) -> bytes:
    """The PEM itself; environments that hold one line alone bring it as base64. Raises ValueError."""
    if "-----BEGIN" in text:
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise ValueError("neither PEM nor base64") from None
