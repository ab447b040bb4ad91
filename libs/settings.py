"""Settings: frozen, typed, read once from the environment; a bad one stops the start with a sentence."""

import dataclasses
import ipaddress
import os
import re
import ssl
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from libs.guard.secrets import strength

MOST_SECONDS = 100 * 365 * 86_400
"""Of a length of time; and none is nothing: what is kept for so long would be deleted at once."""
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+=[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


class SettingsError(Exception):
    """A setting is missing or unusable; the message is one sentence that names the variable."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every process of the suite reads. Field names are the names of the environment variables."""

    ID_ENV: str = "production"
    """development, staging or production; decides which conveniences exist and which settings are refused."""
    PUBLIC_URL: str = ""
    """The one origin and the issuer, without a trailing slash."""
    SECRET_KEY: str = dataclasses.field(default="", repr=False)
    """Shared by all services; every use derives its own key from it."""
    SECRET_KEY_FALLBACKS: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    """Earlier values of SECRET_KEY, comma-separated, that still verify and open."""
    DATA_ENCRYPTION_KEYS: str = dataclasses.field(default="", repr=False)
    """`kid:base64 of 32 bytes`, comma-separated; the first seals, all open. May differ per service."""
    EVENT_ENCRYPTION_KEYS: str = dataclasses.field(default="", repr=False)
    """Same form, shared by all services, for sealed fields of events only."""
    REDIS_URL: str = dataclasses.field(default="", repr=False)
    """Redis or Valkey: what may be lost (session copies, limits, queues)."""
    REDIS_TIMEOUT_MS: int = 250
    """How long a request waits for Redis, milliseconds."""
    TRUSTED_PROXY_HOPS: int = 0
    """How many proxies of ours append to X-Forwarded-For."""
    LOG_LEVEL: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    LOG_FORMAT: str = "json"
    """json (a record per line) or console (for people)."""
    OTEL_EXPORTER_OTLP_ENDPOINT: str = ""
    """Where traces go, by OTLP over HTTP: an address without /v1/traces. Unset: nothing is traced."""
    OTEL_EXPORTER_OTLP_HEADERS: str = dataclasses.field(default="", repr=False)
    """What the collector knows us by: `name=value`, comma-separated, unusual signs URL-encoded."""
    SESSION_IDLE_LIFETIME: timedelta = timedelta(days=14)
    """How long a sign-in session lives without being used, seconds; the life of its fast copy."""
    ACCESS_TOKEN_LIFETIME: timedelta = timedelta(minutes=10)
    """Longest life of an access token, seconds; denials are kept this long."""
    OUTBOUND_ALLOWED_HOSTS: tuple[str, ...] = ()
    """Hosts, comma-separated, that we may fetch from though they are private or speak plain http."""
    OUTBOUND_CA_BUNDLE: str = ""
    """A file of CA certificates (PEM) that vouch for the hosts of OUTBOUND_ALLOWED_HOSTS, and for no other."""

    @property
    def is_development(self) -> bool:
        return self.ID_ENV == "development"

    @property
    def is_secure(self) -> bool:
        """Whether people reach us over https, which decides cookie names, flags and HSTS."""
        return self.PUBLIC_URL.startswith("https://")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the environment. Raises SettingsError with a sentence that names the variable."""
        environ = with_launcher_environment(os.environ if environ is None else environ)
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            raw = environ.get(field.name, "").strip()
            if raw:  # an empty variable counts as unset
                values[field.name] = _convert(field.name, raw, hints[field.name])
        settings = cls(**values)
        settings.check()
        return settings

    @classmethod
    def load_or_exit(cls) -> Self:
        """Read the environment; a bad setting ends the process with code 2 and its sentence on stderr."""
        try:
            return cls.load()
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None

    def check(self) -> None:
        """Refuse what must not start. Raises SettingsError; services add their own rules and call super."""
        if self.ID_ENV not in ("development", "staging", "production"):
            raise SettingsError(f"ID_ENV must be development, staging or production, not {self.ID_ENV!r}.")
        url = urlsplit(self.PUBLIC_URL)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise SettingsError("PUBLIC_URL must name the origin people use, such as https://id.example.org.")
        if url.path or url.query or url.fragment or url.username:
            raise SettingsError(
                "PUBLIC_URL must be an origin alone: scheme, host and port, no path and no slash."
            )
        try:
            is_default_port = url.port == {"http": 80, "https": 443}[url.scheme]
        except ValueError:
            raise SettingsError("PUBLIC_URL must have a port from 1 to 65535, or none.") from None
        if is_default_port or url.netloc != url.netloc.lower():
            # Browsers write an origin in one way only, and ours is compared with theirs.
            raise SettingsError(
                "PUBLIC_URL must be written as browsers write it: lower case, no default port."
            )
        if url.scheme == "http" and not (self.is_development and is_loopback(url.hostname)):
            raise SettingsError("PUBLIC_URL must use https outside development on loopback.")
        self._check_secrets()
        if urlsplit(self.REDIS_URL).scheme not in ("redis", "rediss", "unix"):
            raise SettingsError("REDIS_URL must be a redis:// or rediss:// URL.")
        if self.LOG_LEVEL.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsError("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
        if self.LOG_FORMAT not in ("json", "console"):
            raise SettingsError("LOG_FORMAT must be json or console.")
        self._check_traces()
        self._check_outbound()

    def _check_secrets(self) -> None:
        # Imported here because the key ring raises SettingsError itself.
        from libs.guard.keyring import KeyRing

        for name in ("SECRET_KEY", *strength.RINGS):
            check_secret(name, getattr(self, name))
        for fallback in self.SECRET_KEY_FALLBACKS:
            check_secret("SECRET_KEY_FALLBACKS", fallback)
        if "," in self.SECRET_KEY:
            raise SettingsError("SECRET_KEY must not hold a comma: as a fallback it would be two.")
        if self.SECRET_KEY in self.SECRET_KEY_FALLBACKS:
            raise SettingsError("SECRET_KEY_FALLBACKS must not hold SECRET_KEY itself: only other values.")
        rings = {name: KeyRing.parse(getattr(self, name), setting=name) for name in strength.RINGS}
        if self.is_development:
            return
        for name, value in [("SECRET_KEY", self.SECRET_KEY)] + [
            ("SECRET_KEY_FALLBACKS", value) for value in self.SECRET_KEY_FALLBACKS
        ]:
            _refuse(name, strength.is_guessable(value))
        for name, ring in rings.items():
            for key in ring.keys.values():
                _refuse(name, strength.is_no_key(key))
        shared = strength.find_shared(self.secrets())
        if shared is not None and shared[0] == shared[1]:
            raise SettingsError(f"{shared[0]} must not hold one secret twice.")
        if shared is not None:
            raise SettingsError(f"{shared[1]} must not be the same as {shared[0]}: give each its own secret.")

    @classmethod
    def secret_names(cls) -> tuple[str, ...]:
        """The settings that are secret: those that do not show in a repr."""
        return tuple(field.name for field in dataclasses.fields(cls) if not field.repr)

    def secrets(self) -> Iterator[strength.Held]:
        """Every secret of ours, one by one; not the passwords in addresses, which belong to other servers."""
        for name in self.secret_names():
            if not name.endswith("_URL"):
                yield from strength.held_by(name, getattr(self, name))

    def _check_traces(self) -> None:
        headers = [part.strip() for part in self.OTEL_EXPORTER_OTLP_HEADERS.split(",") if part.strip()]
        if not all(_HEADER.fullmatch(header) for header in headers):
            # OpenTelemetry would pass over it, and the collector refuse every trace.
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_HEADERS must be name=value, comma-separated, other signs URL-encoded."
            )
        if not self.OTEL_EXPORTER_OTLP_ENDPOINT:
            return
        url = urlsplit(self.OTEL_EXPORTER_OTLP_ENDPOINT)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_ENDPOINT must be the http:// or https:// address of a collector."
            )
        if url.username or url.password:
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_ENDPOINT must hold no password: OTEL_EXPORTER_OTLP_HEADERS is for it."
            )

    def _check_outbound(self) -> None:
        for host in self.OUTBOUND_ALLOWED_HOSTS:
            if not is_host(host):
                raise SettingsError(
                    "OUTBOUND_ALLOWED_HOSTS must be names or addresses of hosts, comma-separated: "
                    f"no scheme, port or wildcard as in {host!r}."
                )
        if self.OUTBOUND_CA_BUNDLE:
            try:
                ssl.create_default_context(cafile=self.OUTBOUND_CA_BUNDLE)
            except (OSError, ssl.SSLError):
                raise SettingsError(
                    "OUTBOUND_CA_BUNDLE must be a readable file of PEM certificates."
                ) from None
        if not 0 <= self.TRUSTED_PROXY_HOPS <= 5:
            raise SettingsError("TRUSTED_PROXY_HOPS must be a number from 0 to 5.")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(Settings):
    """What a service with a database of its own reads beside the common settings."""

    DATABASE_URL: str = dataclasses.field(default="", repr=False)
    """Read from SERVICE_DATABASE_URL (ACCOUNT_DATABASE_URL …)."""
    DB_POOL_SIZE: int = 5
    """Connections that a process keeps open."""
    DB_MAX_OVERFLOW: int = 5
    """Connections beyond the pool that a process may open under load."""
    DB_POOL_TIMEOUT_MS: int = 2000
    """How long a request waits for a free connection, milliseconds."""
    DB_CONNECT_TIMEOUT_S: int = 2
    """How long opening a connection may take, seconds."""
    DB_STATEMENT_TIMEOUT_MS: int = 5000
    """How long one statement may run, milliseconds."""

    SERVICE: typing.ClassVar[str] = ""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        environ = dict(with_launcher_environment(os.environ if environ is None else environ))
        # DATABASE_URL of the environment belongs to somebody else: each service has its own variable.
        environ["DATABASE_URL"] = environ.get(cls.database_variable(), "")
        return super().load(environ)

    @classmethod
    def database_variable(cls) -> str:
        return f"{cls.SERVICE.upper()}_DATABASE_URL"

    def check(self) -> None:
        super().check()
        if not self.DATABASE_URL.startswith(("postgresql://", "postgresql+psycopg2://", "postgres://")):
            raise SettingsError(f"{self.database_variable()} must be a postgresql:// URL.")

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL with its driver named, since SQLAlchemy 2.1 would read a bare one as psycopg 3."""
        scheme, rest = self.DATABASE_URL.split("://", 1)
        return f"postgresql+psycopg2://{rest}" if scheme in ("postgres", "postgresql") else self.DATABASE_URL


def is_host(text: str) -> bool:
    """Whether this is the name or the address of one host, and nothing more."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text))
    return True


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".test")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_secret(name: str, value: str) -> None:
    """Refuse a missing, short or placeholder secret. Raises SettingsError."""
    _refuse(name, strength.is_weak(value))


def _refuse(name: str, why: str | None) -> None:
    if why is not None:
        raise SettingsError(f"{name} {why}")


def with_launcher_environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Add what the launcher of this checkout wrote to DATA_DIR/environment, when ID_ENV is unset and it lives.

    A variable of the real environment wins, value by value. Raises SettingsError when the file is stale.
    """
    if environ.get("ID_ENV"):
        return environ
    folder = Path(environ.get("DATA_DIR") or Path(__file__).resolve().parent.parent / ".data")
    file = folder / "environment"
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return environ
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    if not _is_alive(found.pop("LAUNCHER_PID", "")):
        raise SettingsError(f"The suite in {folder} is not running: start it with make run.")
    found.update({name: value for name, value in environ.items() if value})
    return found


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OSError):
        return False
    return True


def _convert(name: str, raw: str, kind: Any) -> Any:
    """Turn text into the field's type. Raises SettingsError."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                raw.lower()
            ]
        if kind is timedelta:
            if not 1 <= (seconds := int(raw)) <= MOST_SECONDS:
                raise ValueError(raw)
            return timedelta(seconds=seconds)
        if typing.get_origin(kind) is tuple:
            return tuple(part.strip() for part in raw.split(",") if part.strip())
        if name == "PUBLIC_URL":
            return raw.rstrip("/")
        return kind(raw)
    except (ValueError, KeyError):
        wanted = {
            bool: "true or false",
            timedelta: f"a number of seconds from 1 to {MOST_SECONDS}",
            int: "a whole number",
        }.get(kind, kind)
        raise SettingsError(f"{name} must be {wanted}, not {raw!r}.") from None
