"""The guarded HTTP client, against servers on loopback that play every trick we know."""

import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.certificate import ensure_certificate
from libs.guard import outbound
from libs.guard.outbound import AnswerTooLarge, OutboundRefused, guarded, is_public
from libs.settings import SettingsError
from tests.libs.sample import SampleSettings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TOO_LATE = (requests.Timeout, requests.ConnectionError)
Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(talk: Talk, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server that reads a request's head and then does to the connection what `talk` does."""
    listener = socket.create_server((host, port))
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            talk(connection)

    def accept() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    stopped.set()
    listener.close()


def answering(content: bytes) -> Talk:
    return lambda connection: connection.sendall(content)


@pytest.fixture
def settings(sample_settings: SampleSettings) -> SampleSettings:
    return replace(sample_settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1", "named.test"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that resolve in this test; each look-up takes the next address, the last one stays."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if host in known:
            host = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return real(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def get(settings: SampleSettings, url: str, *, seconds: float = 3.0, **options: Any) -> requests.Response:
    with guarded(requests.Session(), settings, seconds=seconds, **options) as http:
        return http.get(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
        "100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "224.0.1.1", "240.0.0.1", "255.255.255.255",
        "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::1", "2001:0:53aa:64c:0:0:0:1", "2001:db8::1",
    ],
)  # fmt: skip
def test_no_address_of_a_network_of_our_own_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "140.82.121.3", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_a_private_host_is_refused_however_it_is_written(sample_settings: SampleSettings, host: str) -> None:
    touched = threading.Event()
    with server(lambda connection: touched.set()) as port, pytest.raises(OutboundRefused):
        get(sample_settings, f"https://{host}:{port}/")
    assert not touched.is_set()


def test_a_name_that_leads_to_a_private_address_is_refused(
    sample_settings: SampleSettings, names: dict[str, list[str]]
) -> None:
    names["public.test"] = ["127.0.0.1"]
    with server(answering(OK)) as port, pytest.raises(OutboundRefused):
        get(sample_settings, f"https://public.test:{port}/")


def test_a_named_host_may_be_private_and_plain(settings: SampleSettings) -> None:
    with server(answering(OK)) as port:
        assert get(settings, f"http://127.0.0.1:{port}/").text == "ok"


def test_naming_one_host_opens_no_other(settings: SampleSettings, names: dict[str, list[str]]) -> None:
    names["named.test.evil.test"] = names["notnamed.test"] = ["127.0.0.1"]
    with server(answering(OK)) as port:
        for host in ("localhost", "127.0.0.2", "named.test.evil.test", "notnamed.test"):
            for scheme in ("http", "https"):
                with pytest.raises(OutboundRefused):
                    get(settings, f"{scheme}://{host}:{port}/")


def test_the_connection_goes_to_the_address_that_was_judged(
    settings: SampleSettings, names: dict[str, list[str]]
) -> None:
    """A name whose second look-up says something else (DNS rebinding) is looked up once."""
    names["named.test"] = ["127.0.0.2", "127.0.0.1"]
    judged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\njudged"
    with server(answering(OK)) as port, server(answering(judged), host="127.0.0.2", port=port):
        assert get(settings, f"http://named.test:{port}/").text == "judged"
    assert names["named.test"] == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["http://example.org/", "ftp://example.org/", "file:///etc/passwd"])
def test_only_https_leaves(sample_settings: SampleSettings, url: str) -> None:
    with pytest.raises((OutboundRefused, requests.exceptions.InvalidSchema)):
        get(sample_settings, url)


def test_credentials_in_an_address_are_refused(settings: SampleSettings) -> None:
    with server(answering(OK)) as port, pytest.raises(OutboundRefused):
        get(settings, f"http://user:word@127.0.0.1:{port}/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(settings: SampleSettings, status: int) -> None:
    requested = []

    def redirect(connection: socket.socket) -> None:
        requested.append(1)
        connection.sendall(
            f"HTTP/1.1 {status} Away\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
        )

    with server(redirect) as port, pytest.raises(requests.TooManyRedirects):
        get(settings, f"http://127.0.0.1:{port}/")
    assert len(requested) == 1


def test_an_answer_that_says_it_is_too_large_is_not_read(settings: SampleSettings) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    with server(answering(head)) as port, pytest.raises(AnswerTooLarge):
        get(settings, f"http://127.0.0.1:{port}/")


def test_an_answer_without_an_end_is_cut_off(settings: SampleSettings) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with server(flood) as port, pytest.raises(AnswerTooLarge):
        get(settings, f"http://127.0.0.1:{port}/", max_bytes=100_000)


def test_a_small_answer_that_unpacks_to_much_is_cut_off(settings: SampleSettings) -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    with server(answering(head + packed)) as port, pytest.raises(AnswerTooLarge):
        get(settings, f"http://127.0.0.1:{port}/")


def drip(head: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            time.sleep(0.02)
            connection.sendall(b"x")

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        lambda connection: time.sleep(5),
        drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
        drip(b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["silence", "headers that drip", "a body that drips"],
)
def test_the_time_is_for_all_of_it_and_not_for_each_read(settings: SampleSettings, talk: Talk) -> None:
    began = time.monotonic()
    with server(talk) as port, pytest.raises(TOO_LATE):
        get(settings, f"http://127.0.0.1:{port}/", seconds=0.3)
    assert time.monotonic() - began < 3


def test_the_time_is_for_all_requests_of_a_session_together(settings: SampleSettings) -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(0.2)
        connection.sendall(OK)

    http = guarded(requests.Session(), settings, seconds=0.5)
    with server(slow) as port, http, pytest.raises(TOO_LATE):
        for _ in range(20):
            http.get(f"http://127.0.0.1:{port}/")


def test_a_name_server_that_hangs_takes_no_longer_than_the_time(
    sample_settings: SampleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asked.wait(10))
    began = time.monotonic()
    with pytest.raises(requests.ConnectTimeout):
        get(sample_settings, "https://slow.test/", seconds=0.2)
    assert time.monotonic() - began < 3
    asked.set()


def test_a_tls_handshake_that_hangs_takes_no_longer_than_the_time(settings: SampleSettings) -> None:
    with server(lambda connection: time.sleep(5)) as port, pytest.raises(TOO_LATE):
        get(settings, f"https://127.0.0.1:{port}/", seconds=0.3)


def test_proxies_of_the_environment_are_not_used(
    settings: SampleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxied = threading.Event()
    with server(lambda connection: proxied.set()) as proxy, server(answering(OK)) as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert get(settings, f"http://127.0.0.1:{port}/").text == "ok"
    assert not proxied.is_set()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Talk, Path]:
    """A server's side of TLS with a certificate for named.test, and the file that vouches for it."""
    certificate, key = tmp_path / "named.pem", tmp_path / "named.key"
    ensure_certificate(certificate, key, host="named.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(OK)

    return talk, certificate


@contextlib.contextmanager
def tls_server(talk: Talk) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                talk(connection)

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_the_ca_bundle_vouches_for_named_hosts_and_for_no_other(
    settings: SampleSettings,
    names: dict[str, list[str]],
    tls: tuple[Talk, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk, certificate = tls
    names["named.test"] = names["other.test"] = ["127.0.0.1"]
    with_bundle = replace(settings, OUTBOUND_CA_BUNDLE=str(certificate))
    with tls_server(talk) as port:
        assert get(with_bundle, f"https://named.test:{port}/").text == "ok"
        with pytest.raises(requests.exceptions.SSLError):
            get(settings, f"https://named.test:{port}/")
        # The address is the same; the name is not the certificate's.
        wrong_name = replace(with_bundle, OUTBOUND_ALLOWED_HOSTS=("other.test",))
        with pytest.raises(requests.exceptions.SSLError):
            get(wrong_name, f"https://other.test:{port}/")
        # A host that nobody named must be vouched for by the CAs of the world.
        monkeypatch.setattr(outbound, "is_public", lambda _: True)
        nobody = replace(with_bundle, OUTBOUND_ALLOWED_HOSTS=())
        with pytest.raises(requests.exceptions.SSLError):
            get(nobody, f"https://named.test:{port}/")


@pytest.mark.parametrize("hosts", ["https://idp.test", "idp.test:8443", "*.test", "idp.test/path", "a b"])
def test_what_is_no_host_is_refused_at_the_start(environment: dict[str, str], hosts: str) -> None:
    url = environment["NOTIFICATION_DATABASE_URL"]
    with pytest.raises(SettingsError, match="OUTBOUND_ALLOWED_HOSTS"):
        SampleSettings.load(
            {**environment, "NOTIFICATION_DATABASE_URL": url, "OUTBOUND_ALLOWED_HOSTS": hosts}
        )


def test_a_ca_bundle_that_is_none_is_refused_at_the_start(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for file in (tmp_path / "absent.pem", tmp_path / "empty.pem"):
        with pytest.raises(SettingsError, match="OUTBOUND_CA_BUNDLE"):
            SampleSettings.load({**environment, "OUTBOUND_CA_BUNDLE": str(file)})


def test_hosts_are_read_as_a_list(environment: dict[str, str]) -> None:
    loaded = SampleSettings.load({**environment, "OUTBOUND_ALLOWED_HOSTS": "idp.test, 10.0.0.7, ::1"})
    assert loaded.OUTBOUND_ALLOWED_HOSTS == ("idp.test", "10.0.0.7", "::1")
