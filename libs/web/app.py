"""The Flask app of every service: Flask without the work that it does for each request and nobody here needs."""

import io
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import IO, Any

from flask import Flask, Request, Response
from flask.globals import request_ctx
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.routing import Map, MapAdapter
from werkzeug.sansio.utils import get_host
from werkzeug.utils import cached_property

SHORT_BODY_BYTES = 64 * 1024

Hook = Callable[[], ResponseReturnValue | None]


def needed_where(is_needed: Callable[[str, str], bool]) -> Callable[[Hook], Hook]:
    """Declare a hook before requests that has nothing to do but where `is_needed(endpoint, method)`.

    Asked once for each endpoint and method, so nothing else of a request may matter.
    """

    def declare(hook: Hook) -> Hook:
        hook.is_needed = is_needed  # type: ignore[attr-defined]
        return hook

    return declare


@lru_cache(256)
def _host(routes: Map, scheme: str, named: str) -> tuple[str, str]:
    """A host for views and for routes. Raises werkzeug's SecurityError and BadHost for what is none."""
    host = get_host(scheme, named)
    return host, routes.bind(host, subdomain=routes.default_subdomain).server_name


class _Request(Request):
    """Flask's, which reads a short body at once instead of by way of buffers that are a hundred times as large."""

    @cached_property
    def stream(self) -> IO[bytes]:
        length, most = self.content_length, self.max_content_length
        is_short = length is not None and length <= SHORT_BODY_BYTES and (most is None or length <= most)
        # Only a server that says so ends the stream where the body ends.
        if is_short and self.environ.get("wsgi.input_terminated"):
            return io.BytesIO(self.environ["wsgi.input"].read(length))
        return super().stream


class App(Flask):
    """A Flask app whose views and hooks are plain functions, and whose browser sessions are read on demand."""

    request_class = _Request

    def __init__(self, import_name: str, **options: Any):
        super().__init__(import_name, **options)
        self.session_interface = LazySessions()
        self._hooks: dict[tuple[str, str], list[Hook]] = {}

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Flask asks this for every view and hook of a request; none of ours is a coroutine."""
        return func

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Flask's, without the hooks that are not needed here."""
        request = request_ctx.request
        endpoint, method = request.endpoint, request.method
        if endpoint is None or self.url_value_preprocessors:
            return super().preprocess_request()
        hooks = self._hooks.get((endpoint, method))
        if hooks is None:
            of_all: list[Any] = [
                hook
                for name in (None, *reversed(request.blueprints))
                for hook in self.before_request_funcs.get(name, ())
            ]
            hooks = [hook for hook in of_all if _is_needed(hook, endpoint, method)]
            self._hooks[endpoint, method] = hooks
        for hook in hooks:
            answer = hook()
            if answer is not None:
                return answer
        return None

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What Flask makes for each request, without asking anew what a host means: here paths tell routes apart."""
        config, environ = self.config, request.environ if request is not None else {}
        named = environ.get("HTTP_HOST")
        path = environ.get("PATH_INFO")
        if (
            request is None
            or not (named and path)
            or config["TRUSTED_HOSTS"] is not None
            or config["SERVER_NAME"] is not None
        ):
            return super().create_url_adapter(request)
        scheme = environ["wsgi.url_scheme"]
        request.host, server_name = _host(self.url_map, scheme, named)
        return MapAdapter(
            self.url_map,
            server_name,
            request.root_path,
            self.url_map.default_subdomain,
            scheme,
            request.path,
            environ["REQUEST_METHOD"],
            request.query_string.decode(errors="replace") if request.query_string else "",
        )


def _is_needed(hook: Any, endpoint: str, method: str) -> bool:
    return getattr(hook, "is_needed", lambda *_: True)(endpoint, method)


class Ready(Response):
    """An answer that is whole when it is made: 200, a body, and headers that nobody has to look through."""

    def __init__(self, body: bytes, headers: Iterable[tuple[str, str]]):
        # All that werkzeug's own would find out, told.
        self.headers = Headers()
        self.headers._list = list(headers)
        self.response = self._whole = [body]
        self.direct_passthrough = False
        self._status, self._status_code = "200 OK", 200
        self._on_close = []

    def get_wsgi_response(
        self, environ: dict[str, Any]
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        is_as_made = self._status_code == 200 and self.response is self._whole and not self._on_close
        if not is_as_made or environ["REQUEST_METHOD"] == "HEAD":
            return super().get_wsgi_response(environ)
        length = str(len(self._whole[0]))
        return self._whole, self._status, [*self.headers._list, ("Content-Length", length)]


class LazySession(SessionMixin):
    """The browser's session, whose cookie is only opened when somebody looks or writes."""

    modified = accessed = False

    def __init__(self, read: Callable[[], MutableMapping[str, Any]]):
        self._read = read
        self._values: MutableMapping[str, Any] | None = None

    @property
    def _opened(self) -> MutableMapping[str, Any]:
        if self._values is None:
            self._values = self._read()
        return self._values

    def __getitem__(self, name: str) -> Any:
        return self._opened[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._opened[name] = value
        self.modified = True

    def __delitem__(self, name: str) -> None:
        del self._opened[name]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)


class LazySessions(SecureCookieSessionInterface):
    """Flask's signed cookie, left alone where nobody reads or writes the session."""

    def open_session(self, app: Flask, request: Request) -> Any:
        def read() -> MutableMapping[str, Any]:
            opened = super(LazySessions, self).open_session(app, request)
            return opened if opened is not None else SecureCookieSession()

        return LazySession(read)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)
