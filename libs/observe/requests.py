"""A request as operators see it: one id that joins all it causes, one log line, one observation of its time."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from libs.audit import set_actor
from libs.observe.logs import Frequent, let_lines_wait, set_correlation_id, set_service, write_waiting
from libs.observe.metrics import Metrics

_log = Frequent("libs.request", "request")
NOT_LOGGED = frozenset({"/healthz", "/readyz", "/health", "/metrics"})
"""What only machines ask, every few seconds."""


class Requests:
    """WSGI middleware around a service's Flask app: the id comes from the gateway, or is made here."""

    def __init__(self, app: Callable[..., Any], metrics: Metrics):
        self.app, self.metrics = app, metrics

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        set_service(self.metrics.service)
        set_actor("anonymous")
        correlation_id = set_correlation_id(environ.get("HTTP_X_REQUEST_ID"))
        let_lines_wait()
        began = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if not any(name == "X-Request-ID" for name, _ in headers):
                headers.append(("X-Request-ID", correlation_id))
            self._note(environ, int(status[:3]), time.perf_counter() - began)
            return start_response(status, headers, *exc_info)

        try:
            result: Iterable[bytes] = self.app(environ, start)
        finally:
            write_waiting()
        return result

    def _note(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        # What the request is for Flask: the path as its routes are matched, and the route that was found.
        request = environ["werkzeug.request"]
        path, method = request.path, environ["REQUEST_METHOD"]
        if path in NOT_LOGGED:
            return
        if not path.startswith("/static/"):
            rule = request.url_rule
            self.metrics.observe_request(method, rule.rule if rule is not None else "none", status, seconds)
        # The path alone: queries hold tokens of mailed links.
        _log.info(method=method, path=path, status=status, duration_ms=round(seconds * 1000, 1))
