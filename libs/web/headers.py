"""Headers that every page carries: CSP without unsafe-inline, no framing, no sniffing, HSTS over https."""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flask import request

from libs.settings import Settings

HSTS = "max-age=31536000; includeSubDomains"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; script-src 'self';"
    " connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
CARRY_A_TOKEN = frozenset({"token", "ticket", "code"})
"""Parameters of our own addresses that hold the secret of a mailed link or ticket."""
SHOWS_WHO_IS_THERE = ("text/html", "application/problem+json")
_MAY_END_ANYWHERE = "id.form_may_end_anywhere"
_FRAMES = "id.frames"
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")


def allow_form_target(target: str) -> None:
    """Say that a form of this page may end at a client: its CSP then carries no form-action at all.

    Browsers hold a form's redirects to form-action too, so `'self'` would break the way back to the client.
    """
    request.environ[_MAY_END_ANYWHERE] = True


def allow_frames(urls: Iterable[str]) -> list[str]:
    """Let this page frame the origins of these addresses, and nothing else. Returns the addresses that are so allowed.

    An origin with a character that would mean something in a policy is none.
    """
    allowed = {url: "{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in urls}
    allowed = {url: origin for url, origin in allowed.items() if _ORIGIN.match(origin)}
    request.environ[_FRAMES] = " ".join(sorted(set(allowed.values())))
    return list(allowed)


class Headers:
    """WSGI middleware: adds the headers to every answer that does not bring its own."""

    def __init__(self, app: Callable[..., Any], settings: Settings):
        self.app = app
        self._prepared = {
            (leads_away, has_token): self._prepare(settings, leads_away, has_token)
            for leads_away in (False, True)
            for has_token in (False, True)
        }
        self._names = {name.lower() for name, _ in self._prepared[False, False]}

    @staticmethod
    def _prepare(settings: Settings, leads_away: bool, has_token: bool) -> tuple[tuple[str, str], ...]:
        headers = {
            "Content-Security-Policy": POLICY if leads_away else f"{POLICY}; form-action 'self'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer" if has_token else "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        if settings.is_secure:
            headers["Strict-Transport-Security"] = HSTS
        return tuple(headers.items())

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            query = environ.get("QUERY_STRING") or ""
            has_token = query != "" and carries_token(query)
            own = {name.lower(): value for name, value in headers}
            prepared = self._prepared[_MAY_END_ANYWHERE in environ, has_token]
            if frames := environ.get(_FRAMES):
                prepared = tuple(_with_frames(prepared, frames))
            if self._names.isdisjoint(own):
                headers.extend(prepared)
            else:
                headers.extend(pair for pair in prepared if pair[0].lower() not in own)
            if "cache-control" not in own and (
                has_token or own.get("content-type", "").startswith(SHOWS_WHO_IS_THERE)
            ):
                # Pages show who is signed in; neither a proxy nor the back button may keep them. Errors pass.
                headers.append(("Cache-Control", "no-store"))
            return start_response(status, headers, *exc_info)

        result: Iterable[bytes] = self.app(environ, start)
        return result


def _with_frames(prepared: Iterable[tuple[str, str]], frames: str) -> Iterable[tuple[str, str]]:
    for name, value in prepared:
        yield name, f"{value}; frame-src {frames}" if name == "Content-Security-Policy" else value


def carries_token(query: str) -> bool:
    """Whether an address with this query holds a secret of a mailed link or ticket."""
    return any(name in CARRY_A_TOKEN for name, _ in parse_qsl(query, keep_blank_values=True))
