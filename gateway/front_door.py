"""The front door of the all-in-one: hands a request to the owner of its path, by nginx's own rules."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from gateway import routes
from gateway.refusals import POLICY, REQUEST_ID, refusal
from libs.observe.logs import get_logger, set_correlation_id, set_service
from libs.settings import Settings

log = get_logger("gateway.door")

WSGIApp = Callable[..., Iterable[bytes]]
STRIPPED = tuple(f"HTTP_{header.upper().replace('-', '_')}" for header in routes.STRIPPED_HEADERS)
REASONS = {400: "Bad Request", 413: "Content Too Large", 421: "Misdirected Request"}


class FrontDoor:
    """A WSGI app over the owners of the route table; `gateway` takes what is in no row, too."""

    def __init__(self, owners: Mapping[str, WSGIApp], settings: Settings):
        self.owners, self.settings = owners, settings
        self.host = routes.host_of(urlsplit(settings.PUBLIC_URL).netloc)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        for header in STRIPPED:
            environ.pop(header, None)
        # Set here whatever came from outside: this door is where an id begins.
        request_id = environ["HTTP_X_REQUEST_ID"] = secrets.token_hex(16)
        start_response = _naming(request_id, start_response)
        target = _target_of(environ)
        host = routes.host_of(environ.get("HTTP_HOST", ""))
        is_other_name = self.settings.is_development and host in routes.LOOPBACK_NAMES and host != self.host
        if host != self.host and not is_other_name:
            return self._refuse(421, environ, start_response)
        if routes.is_odd(target):
            return self._refuse(400, environ, start_response)
        if is_other_name:
            # Cookies and passkeys need one name.
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                return self._refuse(421, environ, start_response)
            start_response(
                "302 Found", [("Location", self.settings.PUBLIC_URL + target), ("Content-Length", "0")]
            )
            return [b""]
        if int(environ.get("CONTENT_LENGTH") or 0) > routes.MAX_BODY_BYTES:
            return self._refuse(413, environ, start_response)
        path = environ["PATH_INFO"]
        if path in routes.CLOSED_PATHS:
            environ["PATH_INFO"] = "/closed"
        owner = routes.owner_of(path, is_development=self.settings.is_development)
        # In no row: the gateway's own app says 404 in the reader's language.
        return self.owners[owner or "gateway"](environ, start_response)

    def _refuse(
        self, status: int, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request_id = environ["HTTP_X_REQUEST_ID"]
        answer = refusal(
            status,
            path=_target_of(environ),
            accept=environ.get("HTTP_ACCEPT", ""),
            accept_language=environ.get("HTTP_ACCEPT_LANGUAGE", ""),
        )
        set_service("gateway")
        set_correlation_id(request_id)
        log.info(
            "request_refused", method=environ["REQUEST_METHOD"], path=environ["PATH_INFO"], status=status
        )
        body = answer.body.replace(REQUEST_ID, request_id).encode()
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if answer.reader != "json":
            headers.append(("Content-Security-Policy", POLICY))
        start_response(f"{status} {REASONS[status]}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _naming(request_id: str, start_response: Callable[..., Any]) -> Callable[..., Any]:
    """Every answer names the request's id, whoever gave it."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        others = [(name, value) for name, value in headers if name.lower() != "x-request-id"]
        return start_response(status, [*others, ("X-Request-ID", request_id)], *exc_info)

    return start


def _target_of(environ: Mapping[str, Any]) -> str:
    """Path and query as they were sent; servers that do not tell have decoded the path already."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return str(raw)
    path = quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/:@!$&'()*+,;=~-._")
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path
