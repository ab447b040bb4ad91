"""The Flask app of every service: Flask without the work that it does for each request and nobody here needs."""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin


class App(Flask):
    """A Flask app whose views and hooks are plain functions, and whose browser sessions are read on demand."""

    def __init__(self, import_name: str, **options: Any):
        super().__init__(import_name, **options)
        self.session_interface = LazySessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Flask asks this for every view and hook of a request; none of ours is a coroutine."""
        return func


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
