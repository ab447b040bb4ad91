"""nginx as in production where nothing stands before it: it ends TLS, and behind it is one service that writes down."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gateway import routes
from gateway.certificate import ensure_certificate
from gateway.servers import free_port
from libs.web.headers import HSTS
from tests.gateway.doors import Door, nginx

HOST = "id.example.test"
LARGE = 8_000_000
"""More than all buffers between a service and somebody who does not read."""


@dataclass
class Asked:
    """One request as the service read it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name]


class Service(ThreadingHTTPServer):
    """Every service at once, on one port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: list[Asked] = []
        self.connections = 0
        self.is_rid_of_it = threading.Event()
        """Set once a large answer has been given away."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is nobody's failure here."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(Asked(self.command, self.path, self.headers.items(), body))
        path = self.path.partition("?")[0]
        is_large = path == "/account/large"
        if path == "/account/slow":
            time.sleep(0.5)
        self.send_response(200)
        self.send_header("Content-Length", str(LARGE if is_large else 4))
        self.send_header("Strict-Transport-Security", HSTS)
        self.end_headers()
        self.wfile.write(bytes(LARGE) if is_large else b"done")
        if is_large:
            self.server.is_rid_of_it.set()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@dataclass
class Edge:
    """Both ports of nginx, and what stands behind them."""

    http: Door
    https: Door
    certificate: Path
    service: Service = field(repr=False)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For a client that trusts the certificate, and offers these protocols above TLS."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        connection = socket.create_connection(("127.0.0.1", self.https.port), timeout=20)
        return context.wrap_socket(connection, server_hostname=HOST)


@contextlib.contextmanager
def edge_of(environment: Mapping[str, str], folder: Path) -> Iterator[Edge]:
    """nginx of production, until the block ends."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    ensure_certificate(certificate, key, host=HOST)
    http_port, https_port = free_port(), free_port()
    with Service() as service:
        owners = ["FRONT" if owner == "gateway" else owner.upper() for owner in routes.UPSTREAM_PORTS]
        settings = {
            **environment,
            **{f"{owner}_UPSTREAM": f"127.0.0.1:{service.server_port}" for owner in owners},
            "ID_ENV": "production",
            "PUBLIC_URL": f"https://{HOST}",
            "TRUSTED_PROXY_HOPS": "1",
            "NGINX_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(http_port),
            "HTTPS_PORT": str(https_port),
            "TLS_CERTIFICATE": str(certificate),
            "TLS_CERTIFICATE_KEY": str(key),
        }
        try:
            with nginx(settings) as log:
                tls = ssl.create_default_context(cafile=str(certificate))
                http = Door("nginx", http_port, log, host=HOST)
                yield Edge(http, Door("nginx", https_port, log, host=HOST, tls=tls), certificate, service)
        finally:
            service.shutdown()
