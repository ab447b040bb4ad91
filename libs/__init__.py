"""Plumbing that every service needs and none alone owns. Knows no service and no gateway."""

import sys


def _import_redis_alone() -> None:
    """redis-py imports OpenTelemetry wherever it is installed: 60 modules, for metrics that nobody here switches on.

    Whatever of it is needed, libs/observe/tracing.py imports, and only where traces are wanted.
    """
    name = "opentelemetry"
    if "redis" in sys.modules or name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        import redis  # noqa: F401
    finally:
        del sys.modules[name]


_import_redis_alone()
