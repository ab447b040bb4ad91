"""The settings of a service, read past what is refused: each refusal is noted, and something else stands in for it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from libs.doctor.findings import Finding, fine, weak, wrong
from libs.guard.secrets import fresh
from libs.guard.secrets.strength import is_guessable, password_of
from libs.settings import ServiceSettings, SettingsError, is_loopback, with_launcher_environment

NAMED = re.compile(r"[A-Z][A-Z0-9_]+")
"""The setting that a sentence of SettingsError begins with."""
STAND_INS = (
    "",
    "https://id.example.org",
    "redis://127.0.0.1:1/0",
    "postgresql://nobody@127.0.0.1:1/nothing",
    "smtps://127.0.0.1",
    "nobody@example.org",
    "stands-in",
)
"""Something for each kind of setting that has no default: unset first, then what some setting takes."""
MOST_LOOKS = 200
SHORTEST_PASSWORD = 16


@dataclass
class Reading:
    """What could be read. `settings` is None where nothing stands in for what is refused."""

    settings: ServiceSettings | None = None
    refused: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(kind: type[ServiceSettings], environ: Mapping[str, str]) -> Reading:
    """Read as every process does, and go on where one would stop."""
    reading = Reading()
    try:
        tried = dict(with_launcher_environment(environ))
    except SettingsError as error:
        fix = "Start it, or name another folder in DATA_DIR, or set ID_ENV where no launcher serves."
        reading.findings.append(wrong("environment", str(error), fix))
        tried = dict(environ)
    tried["ID_ENV"] = tried.get("ID_ENV") or "production"
    reading.environ = dict(tried)
    refusals: dict[str, str] = {}
    stand_ins: dict[str, Iterator[str]] = {}
    for _ in range(MOST_LOOKS):
        try:
            reading.settings = kind.load(tried)
            break
        except SettingsError as error:
            found = NAMED.match(str(error))
            if found is None:
                refusals[""] = str(error)
                break
            name = found[0]
            refusals.setdefault(name, str(error))
            stand_in = next(stand_ins.setdefault(name, _stand_ins(name)), None)
            if stand_in is None:
                break
            tried[name] = stand_in
    reading.refused = frozenset(refusals)
    for name, sentence in refusals.items():
        reading.findings.append(wrong(name or "settings", sentence, _fix(kind, name)))
    if reading.settings is not None:
        reading.findings += _contradictions(reading.settings, reading.refused)
    return reading


def _stand_ins(name: str) -> Iterator[str]:
    if name in fresh.MAKERS:
        yield fresh.MAKERS[name]()
    yield from STAND_INS


def _fix(kind: type[ServiceSettings], name: str) -> str:
    if name in fresh.MAKERS:
        return f"Make one: flask --app services.{kind.SERVICE} secrets generate --name {name}"
    is_secret = name in kind.secret_names() or name == kind.database_variable()
    place = "Secret id-service-secrets" if is_secret else "ConfigMap id-settings"
    return f"Correct {name} where the environment comes from (on Kubernetes the {place}), and restart."


def _contradictions(settings: ServiceSettings, refused: frozenset[str]) -> Iterator[Finding]:
    """What each for itself may start, and together, or where we are, should not be so."""
    is_development = settings.is_development
    if "PUBLIC_URL" not in refused:
        yield from _origin(settings)
    if not is_development and settings.TRUSTED_PROXY_HOPS == 0:
        yield weak(
            "TRUSTED_PROXY_HOPS",
            "TRUSTED_PROXY_HOPS is 0: everybody has the address of the proxy, and limits hold them all up together.",
            "Say how many proxies of ours pass requests on: 1 behind our nginx, 2 with an Ingress before it.",
        )
    if not is_development and settings.LOG_LEVEL.upper() == "DEBUG":
        yield weak("LOG_LEVEL", "LOG_LEVEL is DEBUG.", "INFO says what is needed, and costs less.")
    if settings.SECRET_KEY_FALLBACKS and "SECRET_KEY_FALLBACKS" not in refused:
        number = len(settings.SECRET_KEY_FALLBACKS)
        yield fine("SECRET_KEY_FALLBACKS", f"{number} other key(s) verify and open beside SECRET_KEY.")
    if not is_development:
        yield from _passwords(settings, refused)
    if not refused:
        yield fine("settings", f"All can be read; this is {settings.ID_ENV}.")


def _origin(settings: ServiceSettings) -> Iterator[Finding]:
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    if not settings.is_development and (
        is_loopback(host) or host.replace(".", "").isdecimal() or ":" in host
    ):
        yield weak(
            "PUBLIC_URL",
            f"PUBLIC_URL names {host}: passkeys need a name, and nobody else reaches it.",
            "Name the host that people type.",
        )
    cookies = "__Host- cookies, sent over https alone" if settings.is_secure else "cookies for loopback alone"
    yield fine("PUBLIC_URL", f"{settings.PUBLIC_URL}, with {cookies}.")


def _passwords(settings: ServiceSettings, refused: frozenset[str]) -> Iterator[Finding]:
    """Of the servers that our addresses name."""
    addresses = {
        settings.database_variable(): settings.DATABASE_URL,
        "REDIS_URL": settings.REDIS_URL,
    }
    seen: dict[str, str] = {}
    for name, url in addresses.items():
        if name in refused:
            continue
        password = password_of(url)
        fix = f"Give the server another one (secrets generate --name PASSWORD), then {name}."
        if not password:
            yield weak(name, f"{name} has no password: whoever reaches the server reads all of it.", fix)
        elif len(password) < SHORTEST_PASSWORD or is_guessable(password):
            yield weak(name, f"The password in {name} is short, or can be guessed.", fix)
        elif password in seen:
            yield weak(name, f"{name} has the password of {seen[password]}.", fix)
        seen[password] = name
