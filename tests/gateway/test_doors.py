"""What both front doors do to a request on its way, beside choosing who answers it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway import routes
from gateway.servers import free_port
from tests.gateway.doors import ROOT, Door, nginx
from tests.running import wait_until

NGINX_ALONE = pytest.mark.parametrize("door", ["nginx"], indirect=True)
"""What only a server of its own can do: the all-in-one is reached by loopback alone."""
PROMPT_S = 3.0
"""Ten times what it takes."""
REQUEST_ID = re.compile(r"[0-9a-f]{32}\Z")


def test_a_request_gets_its_id_here_whatever_came_from_outside(door: Door):
    for name in ("X-Request-ID", "x-request-id", "X_Request_ID", "X_REQUEST-ID"):
        answer = door.ask("/login", headers={name: "forged-by-the-sender"})
        assert "forged" not in answer.text, name
        assert REQUEST_ID.match(answer.seen["headers"]["x-request-id"])
        assert answer.headers["x-request-id"] == answer.seen["headers"]["x-request-id"]
        assert [n.lower() for n, _ in answer.raw_headers].count("x-request-id") == 1


def test_headers_that_a_service_could_believe_do_not_pass(door: Door):
    forged = dict.fromkeys(routes.STRIPPED_HEADERS, "forged")
    forged |= {name.replace("-", "_"): "forged" for name in routes.STRIPPED_HEADERS if "-" in name}
    forged |= {
        "X_Forwarded_For": "forged",
        "Script_Name": "forged",
        "Remote_Addr": "forged",
        "Remote_User": "forged",
    }
    answer = door.ask("/login", headers=forged)
    assert answer.status == 200
    assert "forged" not in answer.text


def test_the_address_that_counts_is_the_one_that_the_gateway_saw(door: Door):
    seen = door.ask("/login", headers={"X-Forwarded-For": "203.0.113.9, garbage"}).seen
    if door.name == "nginx":
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    else:
        assert seen["address"] == "127.0.0.1"


def test_host_and_query_arrive_as_sent(door: Door):
    seen = door.ask("/oauth2/authorize?a=b%20c&d=%2F").seen
    assert seen["headers"]["host"] == f"localhost:{door.port}"
    assert seen["query"] == "a=b%20c&d=%2F"


@pytest.mark.parametrize(
    "host", ["evil.test", "localhost.evil.test", "evil.test:80", "", "localhost@evil.test"]
)
def test_an_unknown_host_is_refused(door: Door, host: str):
    answer = door.ask("/login", host=host)
    assert answer.status in (400, 421)
    assert "owner" not in answer.text
    if host == "evil.test":
        assert answer.status == 421
        assert REQUEST_ID.match(answer.headers["x-request-id"])


def test_our_own_name_may_be_written_in_any_way(door: Door):
    for host in ("localhost", f"LocalHost:{door.port}", "localhost.", f"localhost.:{door.port}"):
        assert door.ask("/login", host=host).status == 200, host


def test_two_hosts_in_one_request_are_refused(door: Door):
    answer = door.ask("/login", headers=[("Host", "evil.test")])
    assert answer.status in (400, 421)


def test_in_development_another_loopback_name_leads_to_the_one_origin(door: Door):
    for host in (f"127.0.0.1:{door.port}", f"[::1]:{door.port}", "127.0.0.1"):
        answer = door.ask("/apply?name=x%20y", host=host)
        assert (answer.status, answer.headers["location"]) == (302, f"{door.origin}/apply?name=x%20y")
        assert REQUEST_ID.match(answer.headers["x-request-id"])
        assert door.ask("/apply", method="POST", host=host, body=b"a=b").status == 421
        assert door.ask("//evil.test", host=host).status == 400


def test_a_body_beyond_the_limit_is_refused_and_one_below_passes(door: Door):
    assert door.ask("/apply", method="POST", body=b"x" * 1000_000).seen["body_bytes"] == 1000_000
    assert door.ask("/apply", method="POST", body=b"x" * (1024 * 1024 + 1)).status == 413


def test_ambiguous_requests_are_refused(door: Door):
    host = f"Host: localhost:{door.port}\r\n"
    both = f"POST /apply HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert door.send(both.encode()).status in (400, 501)
    lengths = f"POST /apply HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde"
    assert door.send(lengths.encode()).status == 400


def test_a_request_line_beyond_all_reason_is_refused(door: Door):
    assert door.ask("/login?" + "a" * 40_000).status in (400, 414, 431)


def test_the_log_carries_the_path_and_the_id_but_no_query(door: Door):
    answer = door.ask("//odd-one?token=a-secret-of-a-mail")
    wait_until(lambda: answer.headers["x-request-id"] in door.log.read_text())
    lines = [json.loads(line) for line in door.log.read_text().splitlines() if line.startswith("{")]
    mine = [line for line in lines if line.get("correlation_id") == answer.headers["x-request-id"]]
    assert [(line["path"], line["status"]) for line in mine] == [("//odd-one", 400)]
    assert "a-secret-of-a-mail" not in door.log.read_text()


def beginning_of(method: str, door: Door, *more: str) -> bytes:
    lines = [f"{method} /login HTTP/1.1", f"Host: localhost:{door.port}", *more]
    return "\r\n".join(lines).encode()


@NGINX_ALONE
def test_slow_bodies_and_headers_occupy_no_thread_of_a_service(door: Door) -> None:
    """Ten of each, and a service has four threads."""
    began = beginning_of("POST", door, "Content-Length: 1000", "", "a few")
    unfinished = beginning_of("GET", door, "X-Unfinished: ")
    with ExitStack() as stack:
        for sent in [began, unfinished] * 10:
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", door.port)))
            slow.sendall(sent)
        time.sleep(0.2)
        for _ in range(5):
            asked = time.monotonic()
            assert door.ask("/login", method="POST", body=b"a=b").status == 200
            assert time.monotonic() - asked < PROMPT_S


@NGINX_ALONE
def test_services_are_reached_over_connections_that_stay_open(door: Door) -> None:
    seen = [door.ask("/login", method=method).seen for method in ("GET", "POST") * 3]
    assert len({one["port"] for one in seen}) == 1
    assert not any("connection" in one["headers"] for one in seen)
    for method in ("PUT", "DELETE", "PATCH"):
        assert door.ask("/login", method=method).seen["headers"]["connection"] == "close", "one of its own"


def test_a_trace_that_somebody_else_began_is_not_gone_on_with(door: Door) -> None:
    forged = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": "a=b", "baggage": "c=d"}
    assert not set(forged) & set(door.ask("/login", headers=forged).seen["headers"])


def test_outside_development_there_is_no_demo_no_mailbox_and_one_name(environment: dict[str, str]):
    port = free_port()
    settings = {**environment, "ID_ENV": "production", "PUBLIC_URL": "https://id.example.test"}
    settings |= {"HTTP_PORT": str(port), "NGINX_ADDRESS": "127.0.0.1", "TRUSTED_PROXY_HOPS": "2"}
    text = routes.render_nginx(settings)
    assert "/demo" not in text
    assert "/dev/mailbox" not in text
    with nginx(settings) as log:
        door = Door("nginx", port, log)
        assert door.ask("/login", host="localhost").status == 421
        assert door.ask("/login", host="127.0.0.1").status == 421
        # The services are away: a prompt 503, with words for people and programs.
        page = door.ask("/login", host="id.example.test", headers={"Accept": "text/html"})
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert "short interruption" in page.text
        assert page.headers["strict-transport-security"]
        problem = door.ask("/api/v1/me", host="id.example.test")
        assert (problem.status, problem.headers["content-type"]) == (503, "application/problem+json")
        assert problem.seen["status"] == 503
        door.ask("/activate?token=a-secret-of-a-mail", host="id.example.test")
        assert "a-secret-of-a-mail" not in log.read_text()


def test_an_unset_public_url_or_a_mangled_upstream_is_named(environment: dict[str, str]):
    from libs.settings import SettingsError

    for name, value in (("PUBLIC_URL", ""), ("OIDC_UPSTREAM", "oidc"), ("FRONT_UPSTREAM", "a b:80")):
        with pytest.raises(SettingsError, match=name):
            routes.render_nginx({**environment, name: value})


def test_https_that_nobody_would_end_is_named(environment: dict[str, str]):
    """A main server without any port would be given one by nginx: 80, on all addresses."""
    from libs.settings import SettingsError

    secure = {**environment, "ID_ENV": "production", "PUBLIC_URL": "https://id.example.test"}
    for wrong in (
        {"TRUSTED_PROXY_HOPS": "1"},
        {"TRUSTED_PROXY_HOPS": "2", "TLS_CERTIFICATE": "/tls/certificate.pem"},
        {"TRUSTED_PROXY_HOPS": "2", "TLS_CERTIFICATE_KEY": "/tls/key.pem"},
    ):
        with pytest.raises(SettingsError, match="TLS_CERTIFICATE"):
            routes.render_nginx({**secure, **wrong})
    for hops in ("12", "-1", "two"):
        with pytest.raises(SettingsError, match="TRUSTED_PROXY_HOPS"):
            routes.render_nginx({**secure, "TRUSTED_PROXY_HOPS": hops})
    assert "listen *:8000;" in routes.render_nginx({**secure, "TRUSTED_PROXY_HOPS": "2"})


def test_http_2_is_spelled_as_this_version_of_nginx_has_it(environment: dict[str, str]):
    settings = {
        **environment,
        "TLS_CERTIFICATE": "/tls/certificate.pem",
        "TLS_CERTIFICATE_KEY": "/tls/key.pem",
    }
    for version in ("", "1.22.1", "1.25.0"):
        assert " ssl http2;" in routes.render_nginx({**settings, "NGINX_VERSION": version}), version
    for version in ("1.25.1", "1.28.0"):
        text = routes.render_nginx({**settings, "NGINX_VERSION": version})
        assert ("http2 on;" in text, " ssl http2" in text) == (True, False), version


def test_the_command_writes_the_configuration_and_names_a_bad_setting(
    environment: dict[str, str], tmp_path: Path
):
    file = tmp_path / "nginx.conf"
    command = [sys.executable, "-m", "gateway.routes", "nginx", "--output", str(file)]
    subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, check=True)
    assert file.read_text() == routes.render_nginx(environment)
    done = subprocess.run(
        command,
        env={**os.environ, **environment, "PUBLIC_URL": "id.test"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("PUBLIC_URL ")
