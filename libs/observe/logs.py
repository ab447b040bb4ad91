"""Logs: one JSON record per event, with a correlation id, secrets redacted."""

import logging
import re
import sys
import uuid
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from libs.settings import Settings

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
_service: ContextVar[str | None] = ContextVar("service", default=None)
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
REDACTED = "[redacted]"


def correlation_id() -> str | None:
    """The id that joins all log lines, events and tasks of one request."""
    return _correlation_id.get()


def set_correlation_id(value: str | None) -> str:
    """Take over an id that looks like one, or make a new one."""
    chosen = value if value and _VALID_ID.match(value) else uuid.uuid4().hex
    _correlation_id.set(chosen)
    return chosen


def set_service(name: str) -> None:
    """Name the service that the log lines of this context belong to."""
    _service.set(name)


def redact(value: Any) -> Any:
    """A copy without secrets, by name and by look; the net under the rule never to log one."""
    if isinstance(value, str):
        for pattern, replacement in _SECRET_VALUES:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {
            key: REDACTED
            if isinstance(item, (str, bytes, list, tuple, set)) and item and _SECRET_NAME.search(str(key))
            else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, tuple):
        # An exc_info stays one.
        return tuple(redact(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [redact(item) for item in value]
    return value


def get_logger(name: str) -> Any:
    """A logger whose events are static snake_case words with scalars as fields."""
    return structlog.get_logger(name)


def configure_logs(settings: Settings, *, service: str) -> None:
    """Send every logger of the process to stdout in one form. `service` is used where no context names one."""

    def add_context(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        record.setdefault("service", _service.get() or service)
        record["correlation_id"] = record.get("correlation_id") or _correlation_id.get()
        return record

    def redact_record(
        _logger: Any, _method: str, record: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        internal = {key: record.pop(key) for key in ("_record", "_from_structlog") if key in record}
        record = redact(dict(record))
        record.update(internal)
        return record

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        add_context,
    ]
    # structlog's own exception text would print values of local variables; names and places are enough.
    finish: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if settings.LOG_FORMAT == "console":
        # Its own way to show an exception prints local variables too.
        plain = structlog.dev.plain_traceback
        finish.append(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain))
    else:
        finish += [structlog.processors.format_exc_info, redact_record, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, redact_record, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared, redact_record], processors=finish
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
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
