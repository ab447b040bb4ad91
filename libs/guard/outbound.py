"""Guarded HTTP: whatever we fetch is fetched from public addresses, without redirects, within a size and a time.

The address is judged when the connection is made, and the connection goes to the very address that was judged, so a
name that changes its mind between two look-ups gains nothing. Hosts of OUTBOUND_ALLOWED_HOSTS may be anywhere.
"""

import functools
import ipaddress
import socket
import ssl
import threading
import time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from libs.settings import Settings

MAX_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Public by their numbers and private by their use: what clouds tell their own machines (Azure, Oracle).
METADATA = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))

HTTPSession = TypeVar("HTTPSession", bound=requests.Session)


class OutboundRefused(Exception):
    """We do not go there: the message says why, and names no address."""


class AnswerTooLarge(requests.RequestException):
    """The answer is longer than anybody needs."""


def guarded(
    session: HTTPSession, settings: Settings, *, seconds: float, max_bytes: int = MAX_BYTES
) -> HTTPSession:
    """Make a requests session safe for addresses that others chose. `seconds` is for all that it does together.

    Its requests raise OutboundRefused, or requests.RequestException: a redirect (TooManyRedirects), too much
    (AnswerTooLarge), too late (ConnectTimeout, ReadTimeout, ConnectionError).
    """
    adapter = _Adapter(_Guard(settings, seconds=seconds), max_bytes=max_bytes)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.max_redirects = 0
    # Proxies, .netrc and CA files of the environment would each take us somewhere that was not judged.
    session.trust_env = False
    return session


def is_public(text: str) -> bool:
    """Whether an address is one of the open Internet; one that wraps another is judged by what it wraps."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address.sixtofour is not None or address.teredo is not None or address.is_site_local:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in METADATA)
    )


class _Guard:
    """What one session may do, and until when."""

    def __init__(self, settings: Settings, *, seconds: float):
        self.allowed_hosts = frozenset(host.lower() for host in settings.OUTBOUND_ALLOWED_HOSTS)
        self.ca_bundle = settings.OUTBOUND_CA_BUNDLE
        self.deadline = time.monotonic() + seconds

    def is_allowed(self, host: str | None) -> bool:
        return (host or "").rstrip(".").lower() in self.allowed_hosts

    def check_url(self, url: str) -> None:
        """Raises OutboundRefused for anything but https to a plain host, or http to a named one."""
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise OutboundRefused("credentials in an address")
        if parts.scheme != "https" and not (parts.scheme == "http" and self.is_allowed(parts.hostname)):
            raise OutboundRefused(f"{parts.scheme} is not https")

    def addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """Where a name leads, as getaddrinfo says it. Raises OutboundRefused when nothing there is public."""
        found = _look_up(host, port, seconds=remaining(self.deadline))
        if self.is_allowed(host):
            return found
        public = [entry for entry in found if is_public(entry[4][0])]
        if not public:
            raise OutboundRefused("not a public address")
        return public


def remaining(deadline: float) -> float:
    """Seconds left. Raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this is over")
    return left


def _look_up(host: str, port: int, *, seconds: float) -> list[tuple[Any, ...]]:
    """getaddrinfo within a time, which it does not know by itself. Raises OSError, TimeoutError."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(OSError(str(error)))

    thread = threading.Thread(target=ask, name="look-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise TimeoutError("the name was not resolved in time")
    if isinstance(answers[0], OSError):
        raise answers[0]
    found: list[tuple[Any, ...]] = answers[0]
    return found


class _Timed:
    """A socket whose every read and write ends by the deadline: a server that drips gains nothing."""

    deadline = float("inf")

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(remaining(self.deadline))  # type: ignore[attr-defined]
        count: int = super().recv_into(*arguments, **options)  # type: ignore[misc]
        return count

    def sendall(self, *arguments: Any, **options: Any) -> None:
        self.settimeout(remaining(self.deadline))  # type: ignore[attr-defined]
        super().sendall(*arguments, **options)  # type: ignore[misc]


class _Socket(_Timed, socket.socket):
    pass


class _TLSSocket(_Timed, ssl.SSLSocket):
    pass


class _Guarded:
    """A connection to an address that the guard has judged; TLS still verifies the name."""

    def __init__(self, *arguments: Any, guard: _Guard, **options: Any):
        self.guard = guard
        super().__init__(*arguments, **options)

    def _new_conn(self) -> socket.socket:
        name, port = self._dns_host, self.port  # type: ignore[attr-defined]
        problem: OSError = OSError("no address")
        try:
            for family, kind, protocol, _, address in self.guard.addresses(name, port):
                connection = _Socket(family, kind, protocol)
                try:
                    connection.settimeout(remaining(self.guard.deadline))
                    connection.connect(address)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.deadline = self.guard.deadline
                    return connection
                except OSError as error:
                    connection.close()
                    problem = error
                    remaining(self.guard.deadline)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "not connected in time") from error
        except OSError as error:
            problem = error
        raise NewConnectionError(self, type(problem).__name__) from problem  # type: ignore[arg-type]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock.deadline = self.guard.deadline  # type: ignore[attr-defined]


class _HTTPConnection(_Guarded, HTTPConnection):
    pass


class _HTTPSConnection(_Guarded, HTTPSConnection):
    pass


class _Pools(PoolManager):
    """urllib3's pools, whose connections know the guard."""

    def __init__(self, guard: _Guard):
        context = create_urllib3_context()
        context.sslsocket_class = _TLSSocket
        super().__init__(num_pools=4, ssl_context=context)
        self.guard = guard

    def _new_pool(self, scheme: str, host: str, port: int, request_context: Any = None) -> Any:
        pool = super()._new_pool(scheme, host, port, request_context)
        kind = _HTTPSConnection if scheme == "https" else _HTTPConnection
        pool.ConnectionCls = functools.partial(kind, guard=self.guard)  # type: ignore[assignment]
        return pool


class _Adapter(HTTPAdapter):
    """Sends a request under the guard and reads at most `max_bytes` of the answer."""

    def __init__(self, guard: _Guard, *, max_bytes: int):
        self.guard = guard
        self.max_bytes = max_bytes
        super().__init__(max_retries=0)

    def init_poolmanager(self, *_: Any, **__: Any) -> None:
        self.poolmanager = _Pools(self.guard)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        url = request.url or ""
        self.guard.check_url(url)
        # The CA of our own network vouches for the hosts that are named, and for nobody else.
        is_own = self.guard.ca_bundle and self.guard.is_allowed(urlsplit(url).hostname)
        options |= {"stream": True, "proxies": {}, "verify": self.guard.ca_bundle if is_own else True}
        response = super().send(request, **options)
        try:
            response._content = self._read(response)
        finally:
            response.close()
        return response

    def _read(self, response: requests.Response) -> bytes:
        """The body, unpacked. Raises AnswerTooLarge."""
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > self.max_bytes:
            raise AnswerTooLarge("the answer is too large", response=response)
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > self.max_bytes:
                raise AnswerTooLarge("the answer is too large", response=response)
        return bytes(body)
