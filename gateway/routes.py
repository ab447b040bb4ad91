"""The route table of the suite: who answers which path. nginx is rendered from it, the all-in-one reads it.

Both front doors also take from here what is refused before any service sees it, so that a path cannot mean
one thing at the door and another behind it.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, StrictUndefined

UPSTREAM_PORTS = {"gateway": 8005, "account": 8001, "onboarding": 8002, "oidc": 8003, "notification": 8004}
SERVICES = ("account", "onboarding", "oidc", "notification")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEALTH_PATHS = ("/health", "/healthz", "/readyz")
CLOSED_PATHS = ("/metrics",)
"""What the gateway's own app answers on its own port, but never through a front door."""
MAX_BODY_BYTES = 1024 * 1024
TEMPLATE = Path(__file__).with_name("nginx.conf.template")
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Route:
    """One row: `path` alone, or with `is_tree` the path itself and everything below it."""

    owner: str
    path: str
    is_tree: bool = False
    is_for_development: bool = False

    def takes(self, path: str) -> bool:
        return path == self.path or (self.is_tree and path.startswith(f"{self.path}/"))


def _rows(owner: str, *patterns: str, is_for_development: bool = False) -> tuple[Route, ...]:
    return tuple(
        Route(owner, pattern.removesuffix("*"), pattern.endswith("*"), is_for_development)
        for pattern in patterns
    )


ROUTES: tuple[Route, ...] = (
    *_rows("gateway", "/", *HEALTH_PATHS, "/docs", "/openapi.json", "/static*", "/admin"),
    *_rows("gateway", "/favicon.ico", "/robots.txt", "/.well-known/security.txt"),
    *_rows("gateway", "/demo*", is_for_development=True),
    *_rows("account", "/login*", "/logout", "/enrol*", "/account*", "/password*", "/link*"),
    *_rows("account", "/.well-known/change-password", "/api/v1/me*", "/api/v1/users*"),
    *_rows("account", "/admin/users*", "/admin/login-events*", "/admin/events/account*"),
    *_rows("onboarding", "/apply*", "/activate*", "/invitations*"),
    *_rows("onboarding", "/api/v1/applications*", "/api/v1/invitations*"),
    *_rows("onboarding", "/admin/applications*", "/admin/invitations*", "/admin/policies*"),
    *_rows("onboarding", "/admin/events/onboarding*"),
    *_rows("oidc", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
    *_rows("oidc", "/.well-known/webfinger", "/.well-known/jwks.json", "/oauth2*", "/device*"),
    *_rows("oidc", "/account/apps*", "/api/v1/clients*", "/admin/clients*", "/admin/keys*"),
    *_rows("oidc", "/admin/events/oidc*"),
    *_rows("notification", "/api/v1/messages*", "/api/v1/mail-feedback", "/admin/messages*"),
    *_rows("notification", "/admin/events/notification*"),
    *_rows("notification", "/dev/mailbox*", is_for_development=True),
)
_LONGEST_FIRST = sorted(ROUTES, key=lambda route: len(route.path), reverse=True)


def owner_of(path: str, *, is_development: bool) -> str | None:
    """Who answers a decoded path: the longest row that takes it; None where the gateway says 404."""
    for route in _LONGEST_FIRST:
        if route.takes(path) and (is_development or not route.is_for_development):
            return route.owner
    return None


# A request target (path and query, as sent) that some server on the way could read differently from another:
# not plain ASCII, absolute, with a fragment, `//`, a `.` or `..` segment, `;` or `\`, a broken escape, or one of
# those characters (or `/ ? #`, a control character, or `%` itself) escaped. The pattern is Python's and nginx's.
ODD_TARGET = (
    r"^(?!/)|#|^[^?]*(?:[^\x21-\x7e]|//|[;\\]|/\.{1,2}(?:[/?]|$)"
    r"|%(?![0-9A-Fa-f][0-9A-Fa-f])|%(?:2[eEfF53]|3[bBfF]|5[cC]|[01][0-9A-Fa-f]|7[fF]))"
)
_ODD_TARGET = re.compile(ODD_TARGET)


def is_odd(target: str) -> bool:
    """Whether the front doors refuse this request target with 400."""
    return _ODD_TARGET.search(target) is not None


# What services or their libraries could believe. Set by the gateway or absent, whatever came from outside;
# spellings with an underscore never pass: nginx and gunicorn drop them.
STRIPPED_HEADERS = (
    "Baggage",
    "Forwarded",
    "Proxy",
    "Traceparent",
    "Tracestate",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-HTTP-Method-Override",
    "X-Original-URL",
    "X-Real-IP",
    "X-Rewrite-URL",
    "X-Script-Name",
)


# What nginx itself refuses (its own numbers among them), and as what it is explained. 418 stands for an odd target.
REFUSED_CODES = {
    400: (400, 418, 495, 496, 497, 501, 505),
    405: (405,),
    413: (413,),
    414: (414,),
    421: (421,),
    431: (494,),
    503: (500, 502, 503, 504),
}


def render_nginx(environ: Mapping[str, str]) -> str:
    """The text of nginx.conf for this environment. Raises SettingsError for a setting that cannot be.

    Reads PUBLIC_URL, ID_ENV, TRUSTED_PROXY_HOPS and the *_UPSTREAM settings, and of its own:
    HTTP_PORT (8000), HTTPS_PORT (8443), TLS_CERTIFICATE and TLS_CERTIFICATE_KEY (no https without them),
    NGINX_FOLDER (temporary files and pid; /tmp), NGINX_ADDRESS (loopback in development, else all addresses),
    NGINX_WORKERS (auto), NGINX_VERSION (for which the file is; by default it suits every one from 1.22 on, but
    later ones warn about how it spells HTTP/2).
    """
    # Imported here: who only reads the table needs neither Flask nor catalogues.
    from gateway.refusals import POLICY, refusals
    from libs.settings import SettingsError
    from libs.web.headers import HSTS

    public_url = environ.get("PUBLIC_URL", "").rstrip("/")
    if not _ORIGIN.fullmatch(public_url):
        raise SettingsError("PUBLIC_URL must name the origin people use, such as https://id.example.org.")
    is_development = environ.get("ID_ENV") == "development"
    is_secure = public_url.startswith("https://")
    host = host_of(urlsplit(public_url).netloc)
    certificate, key = environ.get("TLS_CERTIFICATE") or "", environ.get("TLS_CERTIFICATE_KEY") or ""
    if bool(certificate) != bool(key):
        raise SettingsError("TLS_CERTIFICATE and TLS_CERTIFICATE_KEY are set together, or neither is.")
    # Behind an Ingress plain http is its way to us; without one it is somebody's mistake.
    is_behind_a_proxy = _hops(environ) > 1
    must_use_https = is_secure and not is_behind_a_proxy
    if must_use_https and not certificate:
        raise SettingsError(
            "TLS_CERTIFICATE and TLS_CERTIFICATE_KEY must be set: PUBLIC_URL is https, and by TRUSTED_PROXY_HOPS "
            "no proxy before the gateway speaks it."
        )
    pages = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701  not HTML
    pages.filters["quoted"] = _quoted
    return pages.from_string(TEMPLATE.read_text()).render(
        upstreams=upstreams(environ),
        routes=[row for row in ROUTES if is_development or not row.is_for_development],
        health_paths=HEALTH_PATHS,
        closed_paths=CLOSED_PATHS,
        odd_target=ODD_TARGET,
        stripped_headers=STRIPPED_HEADERS,
        max_body_bytes=MAX_BODY_BYTES,
        pages=list(refusals().values()),
        page_policy=POLICY,
        refused_codes=REFUSED_CODES,
        hsts=HSTS if is_secure else "",
        hsts_over_http=HSTS if is_secure and is_behind_a_proxy else "",
        public_url=public_url,
        host=host,
        other_names=[name for name in LOOPBACK_NAMES if is_development and name != host],
        is_behind_a_proxy=is_behind_a_proxy,
        must_use_https=must_use_https,
        address=environ.get("NGINX_ADDRESS") or ("127.0.0.1" if is_development else "*"),
        http_port=environ.get("HTTP_PORT") or "8000",
        https_port=environ.get("HTTPS_PORT") or "8443",
        certificate=certificate,
        certificate_key=key,
        http2_is_a_directive=_version(environ.get("NGINX_VERSION") or "") >= (1, 25, 1),
        folder=environ.get("NGINX_FOLDER") or "/tmp",  # noqa: S108  nginx closes what it makes there
        workers=environ.get("NGINX_WORKERS") or "auto",
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text))


def _hops(environ: Mapping[str, str]) -> int:
    from libs.settings import SettingsError

    text = environ.get("TRUSTED_PROXY_HOPS") or "1"
    if text not in tuple("012345"):
        raise SettingsError("TRUSTED_PROXY_HOPS must be a number from 0 to 5.")
    return int(text)


def upstreams(environ: Mapping[str, str]) -> dict[str, str]:
    """host:port of every owner; the gateway's own app is FRONT_UPSTREAM. Raises SettingsError."""
    from libs.settings import SettingsError

    found = {}
    for owner, default_port in UPSTREAM_PORTS.items():
        name = "FRONT_UPSTREAM" if owner == "gateway" else f"{owner.upper()}_UPSTREAM"
        found[owner] = environ.get(name) or f"127.0.0.1:{default_port}"
        match = _HOST_AND_PORT.fullmatch(found[owner])
        if not match or not 0 < int(match[1]) < 65536:
            raise SettingsError(f"{name} must be host:port, such as 127.0.0.1:8001, not {found[owner]!r}.")
    return found


def host_of(authority: str) -> str:
    """The name in `name:port` or `[address]:port`, in lower case and without the root's dot, as nginx reads it."""
    return re.sub(r"\.?(:[0-9]*)?$", "", authority, count=1).lower()


def _quoted(text: str) -> str:
    """A string of nginx's configuration. It must hold no `$` where nginx would read a variable."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main() -> int:
    from libs.settings import SettingsError, with_launcher_environment

    parser = argparse.ArgumentParser(
        prog="python -m gateway.routes", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    nginx = commands.add_parser("nginx", help="render nginx.conf for the settings of this environment")
    nginx.add_argument("--output", type=Path, help="the file to write; standard output without it")
    arguments = parser.parse_args()
    try:
        text = render_nginx(with_launcher_environment(os.environ))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if arguments.output:
        arguments.output.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
