"""What nginx speaks where it ends TLS itself: versions, ciphers, HTTP/2, and HSTS over https alone."""

import ssl

import pytest

from libs.web.headers import HSTS
from tests.gateway import http2
from tests.gateway.edge import HOST, Edge

MODERN, WITHOUT_AEAD = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"


def alert(edge: Edge, context: ssl.SSLContext) -> str:
    """What nginx says instead of shaking hands."""
    with pytest.raises(ssl.SSLError) as refused:
        edge.connect(context)
    return str(refused.value.reason)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_not_spoken(edge: Edge) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = edge.context()
        # What a client of today does not offer, either, unless it is told to.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        assert alert(edge, context) == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_tls_1_2_and_1_3_are_spoken(edge: Edge) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = edge.context()
        context.minimum_version = context.maximum_version = version
        with edge.connect(context) as connection:
            assert connection.version() == version.name.replace("_", ".")


def test_ciphers_of_tls_1_2_authenticate_what_they_encrypt(edge: Edge) -> None:
    context = edge.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(WITHOUT_AEAD)
    assert alert(edge, context) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    context.set_ciphers(MODERN)
    with edge.connect(context) as connection:
        assert (connection.cipher() or [""])[0] == MODERN


def test_http_2_is_chosen_by_who_offers_it(edge: Edge) -> None:
    for offered, chosen in ((("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)):
        with edge.connect(edge.context(*offered)) as connection:
            assert connection.selected_alpn_protocol() == chosen, offered


def test_what_comes_by_http_2_reaches_a_service_by_http_1(edge: Edge) -> None:
    headers = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/login?a=b")]
    headers += [("x-request-id", "forged"), ("x-forwarded-proto", "forged"), ("x_forwarded_for", "forged")]
    with edge.connect(edge.context("h2")) as connection:
        assert http2.ask(connection, headers, b"password=x") == (200, b"done")
    [asked] = edge.service.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/login?a=b", b"password=x")
    assert asked.values("host") == [HOST]
    assert asked.values("x-forwarded-for") == ["127.0.0.1"]
    assert "forged" not in str(asked.headers)


GET = [(":method", "GET"), (":scheme", "https"), (":path", "/login")]
OURS = [(":authority", HOST)]


@pytest.mark.parametrize(
    "headers",
    [
        [*GET, *OURS, ("x-injected", "a\r\nX-Request-ID: forged")],
        [*GET, *OURS, ("x-injected\r\nforged", "a")],
        [*GET, *OURS, ("X-Capital", "a")],
        [*GET, *OURS, (":path", "/account")],
        [*GET, *OURS, ("host", "evil.test")],
        [*GET, (":authority", "evil.test"), ("host", HOST)],
        [*GET, (":authority", "evil.test")],
        [*GET],
        [*GET[:2], *OURS, (":path", "/login HTTP/1.1\r\nX-Request-ID: forged\r\n\r\n")],
        [*GET[:2], *OURS, (":path", "//login")],
        [*GET[:2], *OURS, (":path", "https://evil.test/login")],
        [*GET[:2], *OURS, (":path", "login")],
        [*GET[1:], *OURS, (":method", "GET /account HTTP/1.1\r\nHost: evil.test\r\n\r\nGET")],
        [*GET[1:], *OURS, (":method", "CONNECT")],
        [*GET[1:], *OURS, (":method", "TRACE")],
        [*GET[1:], *OURS],
    ],
)
def test_http_2_smuggles_nothing_into_http_1(edge: Edge, headers: list[tuple[str, str]]) -> None:
    with edge.connect(edge.context("h2")) as connection:
        status, body = http2.ask(connection, headers)
    assert status in (0, 400, 405, 421)
    assert b"nginx" not in body
    assert edge.service.asked == []


def test_a_body_that_is_not_as_long_as_http_2_said_reaches_nobody(edge: Edge) -> None:
    post = [(":method", "POST"), *GET[1:], *OURS]
    for length in ("5", "50"):
        with edge.connect(edge.context("h2")) as connection:
            status, _ = http2.ask(connection, [*post, ("content-length", length)], b"password=x")
        assert status in (0, 400)
    assert edge.service.asked == []


def test_hsts_is_said_over_https_and_never_over_http(edge: Edge) -> None:
    """RFC 6797 §7.2. Whoever answers: a service, the gateway's own words, a redirect."""
    for target in ("/login", "/health", "//odd", "/nothing-here"):
        secure = edge.https.ask(target)
        assert [value for name, value in secure.raw_headers if name == "Strict-Transport-Security"] == [HSTS]
        plain = edge.http.ask(target)
        assert "strict-transport-security" not in plain.headers, target
    assert edge.http.ask("/health").status == 200


def test_plain_http_leads_to_https_and_takes_nothing_that_was_sent(edge: Edge) -> None:
    answer = edge.http.ask("/login?a=b")
    assert (answer.status, answer.headers["location"]) == (302, f"https://{HOST}/login?a=b")
    assert edge.http.ask("/login", method="POST", body=b"password=x").status == 421
    assert edge.service.asked == []


def test_http_on_the_port_of_https_is_refused_in_our_words(edge: Edge) -> None:
    edge.https.tls, tls = None, edge.https.tls
    try:
        answer = edge.https.ask("/login", headers={"Accept": "text/html"})
    finally:
        edge.https.tls = tls
    assert (answer.status, "could not be understood" in answer.text) == (400, True)
    assert "strict-transport-security" not in answer.headers
