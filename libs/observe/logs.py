"""Logs: one JSON record per event, with a correlation id, secrets redacted."""

import contextlib
import io
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, TextIO

import structlog

from libs.settings import Settings

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_service: ContextVar[str | None] = ContextVar("service", default=None)
_waiting: ContextVar[list[str] | None] = ContextVar("waiting", default=None)
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")

# A name that says its value is a secret. Ids of secrets (key ids, session ids) are not.
_SECRET_NAME = re.compile(
    r"password|passwd|secret|token(?!_(type|kind|lifetime|endpoint|format|sign))|authorization|cookie|assertion|verifier"
    r"|private|credential|(^|user_|device_|recovery_|backup_|one_time_)codes?$|^[th]?otp$|sealed|ticket|api_?key",
    re.IGNORECASE,
)
# A value that is a secret whatever it is called: JWTs, bearer headers, credentials in URLs, secret query fields.
_SECRET_VALUES = (
    (re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "[jwt]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 [redacted]"),
    # From the beginning of a word on, lest a long one be tried from each of its letters.
    (re.compile(r"(\b\w+://[^\s:/@]*):[^\s@/]+@"), r"\1:[redacted]@"),
    # Queries and forms, keyword arguments, JSON and its like: `access_token=…`, `'password': '…'`.
    (
        re.compile(
            r"""(?i)((?:token|password|passwd|secret|ticket|verifier|assertion|\bcode)(?:_hint)?\\?["']?\s*[=:]\s*\\?["']?)"""
            r"""(?!\[)[^&\s"',;()\\]+"""
        ),
        r"\1[redacted]",
    ),
    # PostgreSQL quotes the row that it refuses: addresses, hashes, sealed text.
    (re.compile(r"(Failing row contains) \(.*\)"), r"\1 (redacted)"),
    (re.compile(r"(Key \([^\n]*?\)=)\([^\n]*\)"), r"\1(redacted)"),
)
# One of these characters is in every text that a pattern above could change.
_MAY_HOLD_A_SECRET = re.compile(r"eyJ|[=:\s]")
REDACTED = "[redacted]"


def correlation_id() -> str | None:
    """The id that joins all log lines, events and tasks of one request."""
    return _correlation_id.get()


def set_correlation_id(value: str | None) -> str:
    """Take over an id that looks like one, or make a new one."""
    chosen = value if value and _VALID_ID.match(value) else secrets.token_hex(16)
    _correlation_id.set(chosen)
    return chosen


@contextlib.contextmanager
def numbered(value: str | None) -> Iterator[None]:
    """For a while what happens here is about another request."""
    token = _correlation_id.set(value)
    try:
        yield
    finally:
        _correlation_id.reset(token)


def set_service(name: str) -> None:
    """Name the service that the log lines of this context belong to."""
    _service.set(name)


def current_service() -> str:
    """The service that the log lines of this context belong to."""
    return _service.get() or _current.service


def show_trace(current_ids: Callable[[], tuple[str, str] | None]) -> None:
    """From here on records name the trace and the span under way, where there are any."""
    _current.trace_ids = current_ids


def redact(value: Any) -> Any:
    """A copy without secrets, by name and by look; the net under the rule never to log one."""
    if isinstance(value, str):
        if _MAY_HOLD_A_SECRET.search(value):
            for pattern, replacement in _SECRET_VALUES:
                value = pattern.sub(replacement, value)
        return value
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {
            key: REDACTED
            if isinstance(item, (str, bytes, list, tuple, set)) and item and _says_secret(str(key))
            else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, tuple):
        # An exc_info stays one.
        return tuple(redact(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [redact(item) for item in value]
    return value


@lru_cache(1024)
def _says_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def get_logger(name: str) -> Any:
    """A logger whose events are static snake_case words with scalars as fields."""
    return structlog.get_logger(name)


def let_lines_wait() -> None:
    """From here on records that wait for their request's own do so in this context, until write_waiting()."""
    _waiting.set([])


def write_waiting() -> None:
    """Write what waited and was not taken along by a later record."""
    if (waiting := _waiting.get()) and _current.handler is not None:
        _current.handler.write_lines(waiting)
    _waiting.set(None)


class Frequent:
    """Records that come with every request: written as every other, without the machinery that makes those.

    Their fields are known beforehand: texts, numbers and None, under names that say no secret. What the texts hold is
    redacted as ever. One that `waits` goes out in one write with its request's own record, which follows at once.
    """

    def __init__(self, name: str, event: str, *, waits: bool = False):
        self.name, self.event, self._waits = name, event, waits
        self._log, self._levels = get_logger(name), logging.getLogger(name)
        self._middle = f'"event": "{event}", "level": "info", "logger": "{name}", "timestamp": "'

    def info(self, **fields: str | float | None) -> None:
        handler = _current.handler
        if _current.is_console or handler is None:
            self._log.info(self.event, **fields)
        elif self._levels.isEnabledFor(logging.INFO):
            told = "".join([f'"{name}": {_in_json(value)}, ' for name, value in fields.items()])
            waiting = _waiting.get()
            lines = waiting if waiting is not None else []
            lines.append(
                f'{{{told}{self._middle}{datetime.now(UTC).isoformat()[:-6]}Z", '
                f'"service": {_quoted(_service.get() or _current.service)}, '
                f'"correlation_id": {_in_json(_correlation_id.get())}{_trace_in_json()}}}'
            )
            if not self._waits or waiting is None:
                handler.write_lines(lines)
                lines.clear()


def _trace_in_json() -> str:
    ids = _current.trace_ids() if _current.trace_ids is not None else None
    return "" if ids is None else f', "trace_id": "{ids[0]}", "span_id": "{ids[1]}"'


def _in_json(value: str | float | None) -> str:
    if value is None:
        return "null"
    return _text_in_json(value) if isinstance(value, str) else repr(value)


@lru_cache(256)
def _text_in_json(value: str) -> str:
    return _quoted(redact(value))


class _Lines(logging.StreamHandler[Any]):
    """Writes records, and lines that are finished already, each whole."""

    def write_lines(self, lines: Sequence[str]) -> None:
        self.acquire()
        try:
            self.stream.write("\n".join([*lines, ""]))
            self.stream.flush()
        except Exception:  # noqa: S110  as logging has it: a log that cannot be written fails nobody's request
            pass
        finally:
            self.release()


@dataclass
class _Current:
    """What configure_logs() was told last."""

    service: str = ""
    is_console: bool = False
    handler: _Lines | None = None
    finish: tuple[Any, ...] = ()
    trace_ids: Callable[[], tuple[str, str] | None] | None = None


_current = _Current()


def _writer(level: int) -> Callable[["_Logger", str], None]:
    def write(self: "_Logger", line: str) -> None:
        if _current.handler is not None and self.levels.isEnabledFor(level):
            _current.handler.write_lines((line,))

    return write


class _Logger:
    """Where structlog's records end: lines, past the machinery of `logging` but for its levels."""

    def __init__(self, name: str):
        self.name, self.levels = name, logging.getLogger(name)

    debug, info, warning = _writer(logging.DEBUG), _writer(logging.INFO), _writer(logging.WARNING)
    error = exception = _writer(logging.ERROR)
    critical = _writer(logging.CRITICAL)


def _add_context(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record.setdefault("service", _service.get() or _current.service)
    record["correlation_id"] = record.get("correlation_id") or _correlation_id.get()
    if _current.trace_ids is not None and (ids := _current.trace_ids()) is not None:
        record["trace_id"], record["span_id"] = ids
    return record


def _redact_record(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    internal = {key: record.pop(key) for key in ("_record", "_from_structlog") if key in record}
    record = redact(dict(record))
    record.update(internal)
    return record


def _redact_trace(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The text that an exception became after the record was redacted."""
    if "exception" in record:
        record["exception"] = redact(record["exception"])
    return record


def _print_trace(stream: TextIO, told: Any) -> None:
    """The same for people. structlog's own way to show an exception would print local variables too."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, told)
    stream.write(redact(text.getvalue()))


_CHAIN: tuple[Any, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    _add_context,
    _redact_record,
)
"""What every record goes through, ours and other libraries'."""


def _finish(logger: Any, method: str, record: Any) -> Any:
    """A record as text, in the form that is configured now: loggers are kept from their first use on."""
    for step in _current.finish:
        record = step(logger, method, record)
    return record


def configure_logs(settings: Settings, *, service: str) -> None:
    """Send every logger of the process to stdout in one form. `service` is used where no context names one."""
    # structlog's own exception text would print values of local variables; names and places are enough.
    is_console = settings.LOG_FORMAT == "console"
    finish: tuple[Any, ...]
    if is_console:
        colors = sys.stdout.isatty()
        finish = (structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_print_trace),)
    else:
        finish = (structlog.processors.format_exc_info, _redact_trace, structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[*_CHAIN, _finish],
        logger_factory=_Logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Lines(sys.stdout)
    of_others = structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        of_others(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_CHAIN],
            processors=[of_others.remove_processors_meta, *finish],
        )
    )
    _current.service, _current.is_console, _current.handler = service, is_console, handler
    _current.finish = finish
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(True)
    root.setLevel(settings.LOG_LEVEL.upper())
    # Authlib prints whole tokens at DEBUG; urllib3 and the rest only say what our own records say better.
    for noisy in (
        "authlib",
        "urllib3",
        "werkzeug",
        "kombu",
        "amqp",
        "alembic",
        "flask_limiter",
        "flask-limiter",
        # Its words on every task hold the task's arguments; task_done says the rest.
        "celery.worker.strategy",
        "celery.app.trace",
        "celery.beat",
    ):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
