"""The public keys of clients: registered ones, or those at their jwks_uri as this process remembers them."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from libs.observe.logs import get_logger
from libs.web.problems import Unavailable
from services.oidc.flows.clients.metadata import CLIENT_ALGORITHMS, MOST_KEYS, usual_name
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.client_documents import FETCH_TIMEOUT, LeftAlone, NotFetched, a_place, fetch

log = get_logger("OIDC.client_keys")

KEYS_LIFETIME = timedelta(minutes=10)
"""A key that a client took away is seen by every process within this time; a new one at its first use."""
LOOK_INTERVAL = timedelta(seconds=10)
"""How often a kid that is not there makes a process look again, at most, per client."""
LONGEST_AWAY = timedelta(hours=4)
"""How long the keys known last serve on while their address does not answer."""
MOST_CLIENTS = 500
"""Of so many clients the keys are remembered; those used longest ago are forgotten first."""
ACCEPT = "application/jwk-set+json, application/json"
MAX_BYTES = 64 * 1024
RSA_BITS = (2048, 8192)
"""Shorter keys prove nothing (RFC 7518 §3.3), longer ones take long to check."""
MOST_RSA_EXPONENT_BITS = 32
KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519"}
"""The kind of key, or its curve, that an algorithm of clients works with."""
_KEY_TYPES = {"RSA": "RSA", "EC": "P-256", "OKP": "Ed25519"}
_NO_KEY = (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm)


@dataclass(frozen=True)
class ClientKey:
    """A public key of a client, parsed."""

    kid: str | None
    kind: str
    alg: str | None
    """The one algorithm that it is for; None: any that works with its kind."""
    jwk: Any

    def fits(self, alg: str) -> bool:
        return self.kind == KINDS[alg] and self.alg in (None, alg)


Keys = tuple[ClientKey, ...]


@dataclass
class _Known:
    """What is known of one client. Times are of the monotonic clock."""

    source: Any
    """The jwks or the jwks_uri that the keys are from: a changed registration begins anew."""
    keys: Keys | None = None
    fetched_at: float = float("-inf")
    looked_at: float = float("-inf")
    """When a kid that is not there last made us fetch."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class ClientKeys:
    """The keys of all clients in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def find(self, client: RegisteredClient, *, alg: str, kid: str | None) -> ClientKey | None:
        """The one key of the client that fits; None when there is none, or no telling which.

        Raises Unavailable while too many threads wait for addresses of clients.
        """
        if client.jwks is not None:
            return the_one(self._registered(client), alg=alg, kid=kid)
        if client.jwks_uri is None:
            return None
        began = time.monotonic()
        known = self._entry(client, client.jwks_uri)
        found = the_one(self._fetched(client, known), alg=alg, kid=kid)
        if found is None:
            found = the_one(self._fetched(client, known, newer_than=began), alg=alg, kid=kid)
        return found

    def _entry(self, client: RegisteredClient, source: Any) -> _Known:
        with self._lock:
            known = self._known.get(client.client_id)
            if known is None or known.source != source:
                known = self._known[client.client_id] = _Known(source)
            self._known.move_to_end(client.client_id)
            while len(self._known) > MOST_CLIENTS:
                self._known.popitem(last=False)
            return known

    def _registered(self, client: RegisteredClient) -> Keys:
        known = self._entry(client, client.jwks)
        if known.keys is None:
            known.keys = read_keys(client.jwks)
        return known.keys

    def _fetched(self, client: RegisteredClient, known: _Known, *, newer_than: float = float("-inf")) -> Keys:
        """The keys at the client's address: at most KEYS_LIFETIME old, or, for an unknown kid, newer than that.

        One thread fetches. The others go on with what is known, or wait for it where that is nothing to them.
        """
        is_search = newer_than > float("-inf")
        if not is_search and self._age(known) < KEYS_LIFETIME.total_seconds():
            return known.keys or ()
        is_usable = not is_search and self._usable(known) != ()
        if not self._begin(known, may_wait=not is_usable):
            return self._usable(known)
        try:
            wanted = max(newer_than, time.monotonic() - KEYS_LIFETIME.total_seconds())
            if known.fetched_at < wanted and self._may_look(known, is_search):
                self._fetch(client, known)
        except Unavailable:
            known.looked_at = float("-inf")
            if not is_usable:
                raise
        finally:
            known.lock.release()
        return self._usable(known)

    @staticmethod
    def _begin(known: _Known, *, may_wait: bool) -> bool:
        """Become the one thread that may fetch for a client, after another one where that is worth the wait."""
        if known.lock.acquire(blocking=False):
            return True
        if not may_wait:
            return False
        with a_place():
            return known.lock.acquire(timeout=FETCH_TIMEOUT.total_seconds())

    @staticmethod
    def _may_look(known: _Known, is_search: bool) -> bool:
        """Whether a search may fetch: a flood of wild kids must fetch nothing."""
        if not is_search:
            return True
        now = time.monotonic()
        if now - known.looked_at < LOOK_INTERVAL.total_seconds():
            return False
        known.looked_at = now
        return True

    @staticmethod
    def _fetch(client: RegisteredClient, known: _Known) -> None:
        """Fetch the keys; those known before stay where that fails."""
        began = time.monotonic()
        try:
            known.keys = fetch(known.source, _read_body, accept=ACCEPT, max_bytes=MAX_BYTES)
        except LeftAlone:
            return
        except NotFetched as error:
            log.warning("client_keys_not_fetched", client_id=client.client_id, reason=str(error))
            return
        known.fetched_at = began
        log.info("client_keys_fetched", client_id=client.client_id, count=len(known.keys))

    @staticmethod
    def _age(known: _Known) -> float:
        return time.monotonic() - known.fetched_at

    def _usable(self, known: _Known) -> Keys:
        """What is known, unless its address has been away for too long."""
        lifetime = KEYS_LIFETIME + LONGEST_AWAY
        return (known.keys or ()) if self._age(known) < lifetime.total_seconds() else ()


def the_one(keys: Iterable[ClientKey], *, alg: str, kid: str | None) -> ClientKey | None:
    """The only key that fits the algorithm and, where one is named, has this id."""
    fitting = [key for key in keys if key.fits(alg) and (kid is None or key.kid == kid)]
    return fitting[0] if len(fitting) == 1 else None


def read_keys(jwks: Any) -> Keys:
    """The public keys of a JWKS that sign in a way we know; whatever else stands in it is passed over."""
    members = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(members, list):
        return ()
    found = (_read_key(member) for member in members[:MOST_KEYS])
    return tuple(key for key in found if key is not None)


def _read_key(member: Any) -> ClientKey | None:
    if not isinstance(member, dict) or "d" in member or "k" in member:
        return None
    kid, alg, operations = member.get("kid"), member.get("alg"), member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, (str, type(None))) or (alg is not None and alg not in CLIENT_ALGORITHMS):
        return None
    try:
        kind = _KEY_TYPES[member["kty"]]
        if kind != "RSA" and member["crv"] != kind:
            return None
        # A base64url digit is six bits. One that is too short is not even read: joserfc would warn of it.
        if kind == "RSA" and len(member["n"]) * 6 < RSA_BITS[0]:
            return None
        jwk: Any = import_key({**member, "use": "sig", "key_ops": ["verify"]})
        if kind == "RSA" and not _is_sound(jwk.public_key):
            return None
    except _NO_KEY:
        return None
    return ClientKey(kid, kind, usual_name(alg) if alg is not None else None, jwk)


def _is_sound(key: RSAPublicKey) -> bool:
    shortest, longest = RSA_BITS
    return (
        shortest <= key.key_size <= longest and key.public_numbers().e.bit_length() <= MOST_RSA_EXPONENT_BITS
    )


def _read_body(body: bytes) -> Keys:
    """Raises NotFetched for what is no JWKS: then the keys known before serve on."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotFetched("not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise NotFetched("not a JWKS")
    return read_keys(document)


client_keys = ClientKeys()
