"""Everything people do to JWTs, made from a right one: for whatever place takes one."""

import base64
import json
import secrets
import socket
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from joserfc import jwe
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.oidc.signing_party import segment, sign_parts

NOT_UTF8 = b'{"alg":"\xff"}'


@dataclass(frozen=True, kw_only=True)
class Honest:
    """A right token, and what there is to play tricks with."""

    text: str
    key: Any = field(repr=False)
    """What it was signed with."""
    others: dict[str, Any] = field(default_factory=dict, repr=False)
    """By algorithm: other keys of the same signer."""
    secret: str = "a-client-secret"
    """What both sides may know beside keys."""
    address: str
    """Where somebody listens who must never be asked."""

    @property
    def header(self) -> dict[str, Any]:
        return read(self.text.split(".")[0])

    @property
    def claims(self) -> dict[str, Any]:
        return read(self.text.split(".")[1])

    def signed(self, claims: Any = None, /, **changes: Any) -> str:
        """Rightly signed, with other claims, or with other members in the header; None leaves one out."""
        header = {k: v for k, v in {**self.header, **changes}.items() if v is not None}
        return self.signed_parts(segment(header), segment(self.claims if claims is None else claims))

    def signed_parts(self, head: str, body: str) -> str:
        return sign_parts(head, body, self.key, alg=self.header["alg"])


def read(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def tricks(honest: Honest) -> dict[str, str]:
    """By name: what must be refused wherever `honest.text` is accepted."""
    return {
        **_unsigned(honest),
        **_confused(honest),
        **_keys_in_the_header(honest),
        **_kids(honest),
        **_must_be_understood(honest),
        **_shapes(honest),
        **_bodies(honest),
        **_encrypted(honest),
        **_sizes(honest),
    }


def _unsigned(honest: Honest) -> dict[str, str]:
    head, body, signature = honest.text.split(".")
    found = {}
    for alg in ("none", "None", "NONE", "nOnE", "", " none", "none\x00"):
        changed = segment({**honest.header, "alg": alg})
        found[f"alg {alg!r}"] = f"{changed}.{body}."
        found[f"alg {alg!r} with a signature"] = f"{changed}.{body}.{signature}"
    for alg in (None, ["none"], [honest.header["alg"]], 0, {}, True):
        found[f"alg {alg!r}"] = f"{segment({**honest.header, 'alg': alg})}.{body}.{signature}"
    without = {name: value for name, value in honest.header.items() if name != "alg"}
    return found | {
        "no alg": f"{segment(without)}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "a signature of zeros": f"{head}.{body}.{segment(bytes(64))}",
        "half a signature": f"{head}.{body}.{signature[: len(signature) // 2]}",
        "another body": f"{head}.{segment({**honest.claims, 'sub': 'admin', 'more': 1})}.{signature}",
        "another header": f"{segment({**honest.header, 'kid': 'x'})}.{body}.{signature}",
    }


def _confused(honest: Honest) -> dict[str, str]:
    """Keys of one algorithm used with another."""
    _, body, _ = honest.text.split(".")
    public_jwk = honest.key.as_dict(private=False)
    guesses = {
        "our public PEM": honest.key.as_pem(private=False),
        "our public DER": honest.key.as_der(private=False),
        "our public JWK": json.dumps(public_jwk).encode(),
        "our public JWK, tightly": json.dumps(public_jwk, separators=(",", ":")).encode(),
        "our public JWKS": json.dumps({"keys": [public_jwk]}).encode(),
        "the client secret": honest.secret.encode(),
        "nothing": b"",
        "the kid": str(honest.header.get("kid")).encode(),
    }
    found = {}
    for alg in ("HS256", "hs256"):
        head = segment({**honest.header, "alg": alg})
        for name, secret in guesses.items():
            found[f"{alg} with {name}"] = sign_parts(head, body, secret, alg=alg)
    strangers = _strangers()
    for alg, stranger in strangers.items():
        head = segment({**honest.header, "alg": alg})
        found[f"a stranger's {alg} under our kid"] = sign_parts(head, body, stranger, alg=alg)
    for alg, other in honest.others.items():
        head = segment({**honest.header, "alg": alg})
        found[f"our other key, {alg}, under this kid"] = sign_parts(head, body, other, alg=alg)
    curve = segment(honest.header)
    found["another curve under this algorithm"] = sign_parts(curve, body, strangers["ES384"], alg="ES384")
    return found


@cache
def _strangers() -> dict[str, Any]:
    """By algorithm: keys of nobody's. Made once, for RSA takes its time."""
    rsa = RSAKey.generate_key(2048)
    return {
        "RS256": rsa,
        "PS256": rsa,
        "ES256": ECKey.generate_key("P-256"),
        "ES384": ECKey.generate_key("P-384"),
        "ES512": ECKey.generate_key("P-521"),
        "ES256K": ECKey.generate_key("secp256k1"),
        "EdDSA": OKPKey.generate_key("Ed25519"),
    }


def _keys_in_the_header(honest: Honest) -> dict[str, str]:
    """None of them is believed, and none fetched, whoever signed."""
    own = ECKey.generate_key("P-256", {"kid": honest.header.get("kid")})
    members = {
        "jwk": own.as_dict(private=False),
        "jku": f"{honest.address}/jwks.json",
        "x5u": f"{honest.address}/certificate.pem",
        "x5c": ["MIIB"],
    }
    found = {}
    for name, member in members.items():
        head = segment({**honest.header, "alg": "ES256", name: member})
        body = segment(honest.claims)
        found[f"{name} of a stranger"] = sign_parts(head, body, own, alg="ES256")
        found[f"{name} of our own"] = honest.signed(**{name: member})
    return found


def _kids(honest: Honest) -> dict[str, str]:
    stranger = ECKey.generate_key("P-256")
    wild: dict[str, Any] = {
        "a path": "../../../../../dev/null",
        "a file": "file:///etc/passwd",
        "an address": f"{honest.address}/key",
        "SQL": "' OR 1=1 --",
        "a command": "$(id)",
        "NUL": f"{honest.header.get('kid')}\x00",
        "half a character": "\ud800",
        "very long": "k" * 1200,
        "beyond all bounds": "k" * 50_000,
        "an object": {"$ne": ""},
        "a list": [honest.header.get("kid")],
        "a number": 1,
        "true": True,
        "empty": "",
    }
    body, found = segment(honest.claims), {}
    for name, kid in wild.items():
        head = segment({**honest.header, "alg": "ES256", "kid": kid})
        found[f"kid: {name}"] = sign_parts(head, body, stranger, alg="ES256")
        found[f"kid: {name}, signed by us"] = honest.signed(kid=kid)
    return found


def _must_be_understood(honest: Honest) -> dict[str, str]:
    head, _, signature = honest.text.split(".")
    return {
        "an unknown crit": honest.signed(crit=["exp"], exp=1),
        "crit of what is not there": honest.signed(crit=["x"]),
        "crit empty": honest.signed(crit=[]),
        "crit a string": honest.signed(crit="b64"),
        "crit of b64": honest.signed(crit=["b64"], b64=False),
        "b64 without crit": honest.signed(b64=False),
        "a body in plain text": sign_parts(
            segment({**honest.header, "crit": ["b64"], "b64": False}), "plain", honest.key, alg=honest.header["alg"]
        ),
        "zip": honest.signed(zip="DEF"),
        "detached": f"{head}..{signature}",
        "nested": honest.signed_parts(
            segment({**honest.header, "cty": "JWT"}), segment(honest.text.encode())
        ),
    }  # fmt: skip


def _shapes(honest: Honest) -> dict[str, str]:
    head, body, signature = honest.text.split(".")
    flat = {"protected": head, "payload": body, "signature": signature}
    general = {"payload": body, "signatures": [{"protected": head, "signature": signature}]}
    return {
        "empty": "",
        "dots": "..",
        "one part": head,
        "two parts": f"{head}.{body}",
        "four parts": f"{honest.text}.{signature}",
        "two tokens": f"{honest.text},{honest.text}",
        "flattened JSON": json.dumps(flat),
        "general JSON": json.dumps(general),
        "padding": f"{head}==.{body}.{signature}",
        "plain base64": f"{head}.{body}.{signature[:-1]}+/",
        "a blank before": f" {honest.text}",
        "a blank within": f"{head}. {body}.{signature}",
        "a line break": f"{honest.text}\n",
        "line breaks within": f"{head}\n.{body}\n.{signature}",
        "NUL": f"{honest.text}\x00",
        "not ASCII": honest.text[:-1] + "é",
        "header no JSON": f"{segment(b'{')}.{body}.{signature}",
        "header a list": f"{segment([1])}.{body}.{signature}",
        "header a string": f"{segment('x')}.{body}.{signature}",
        "header not UTF-8": segment(NOT_UTF8) + f".{body}.{signature}",
        "header deeply nested": f"{segment(b'[' * 1400)}.{body}.{signature}",
        "a member twice, unsigned": f"{_twice(honest, 'none', last=True)}.{body}.",
        "a member twice, signed": f"{_twice(honest, 'none', last=True)}.{body}.{signature}",
        "an alg first none": f"{_twice(honest, 'none', last=False)}.{body}.",
    }


def _twice(honest: Honest, alg: str, *, last: bool) -> str:
    rest = json.dumps(honest.header)[1:]
    text = f"{{{rest[:-1]}, " + f'"alg": "{alg}"}}' if last else f'{{"alg": "{alg}", {rest}'
    return segment(text.encode())


def _bodies(honest: Honest) -> dict[str, str]:
    """Rightly signed, and no claims all the same."""
    head = honest.text.split(".")[0]
    bodies = {
        "no JSON": b"x",
        "empty": b" ",
        "a list": b"[1]",
        "a string": b'"x"',
        "null": b"null",
        "deeply nested": b"[" * 5000,
        "deeply nested within": b'{"a":' * 1500 + b"1" + b"}" * 1500,
        "not UTF-8": NOT_UTF8,
        "a number without end": b'{"exp":' + b"9" * 5000 + b"}",
        "empty object": b"{}",
    }
    return {f"body: {name}": honest.signed_parts(head, segment(body)) for name, body in bodies.items()}


def _encrypted(honest: Honest) -> dict[str, str]:
    """JWEs, which nobody here decrypts, whatever work their headers ask for."""
    zipped = jwe.encrypt_compact(
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
        b"\0" * 200_000,
        _strangers()["RS256"],
        algorithms=["RSA-OAEP-256", "A256GCM", "DEF"],
    )
    costly = segment(
        {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1, "p2s": segment(b"s" * 16)}
    )
    rest = ".".join(segment(secrets.token_bytes(size)) for size in (24, 12, 40, 16))
    direct = segment({"alg": "dir", "enc": "A128GCM"})
    return {
        "a zipped JWE": zipped,
        "PBES2 that counts for hours": f"{costly}.{rest}",
        "a direct JWE": f"{direct}..{rest.partition('.')[2]}",
    }


def _sizes(honest: Honest) -> dict[str, str]:
    head, body, signature = honest.text.split(".")
    return {
        "a huge body": f"{head}.{'A' * 400_000}.{signature}",
        "a huge header": f"{'A' * 400_000}.{body}.{signature}",
        "a huge signature": f"{head}.{body}.{'A' * 400_000}",
        "many dots": "." * 100_000,
        "a huge body that we signed": honest.signed({**honest.claims, "more": "x" * 100_000}),
    }


class Trap:
    """A listener that notes who connects; the address that tricks name."""

    def __init__(self) -> None:
        self.visits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()

    def close(self) -> None:
        self._listener.close()
