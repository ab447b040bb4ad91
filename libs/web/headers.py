"""Headers that every page carries: CSP without unsafe-inline, no framing, no sniffing, HSTS over https."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from libs.settings import Settings

HSTS = "max-age=31536000; includeSubDomains"
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")


def allow_form_target(target: str) -> None:
    """Say that a form of this page may end at a client: its CSP then carries no form-action at all.

    Browsers hold a form's redirects to form-action too, so `'self'` would break the way back to the client.
    """
    g.csp_form_action = None


def allow_frames(urls: Iterable[str]) -> list[str]:
    """Let this page frame the origins of these addresses, and nothing else. Returns the addresses that are so allowed.

    An origin with a character that would mean something in a policy is none.
    """
    allowed = {url: "{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in urls}
    allowed = {url: origin for url, origin in allowed.items() if _ORIGIN.match(origin)}
    g.csp_frame_src = " ".join(sorted(set(allowed.values())))
    return list(allowed)


def init_headers(app: Flask, settings: Settings) -> None:
    """Add the headers to every answer that does not bring its own."""

    @app.after_request
    def _add(response: Response) -> Response:
        policy = [
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "script-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
        if g.get("csp_form_action", "'self'") is not None:
            policy.append("form-action 'self'")
        if g.get("csp_frame_src"):
            policy.append(f"frame-src {g.csp_frame_src}")
        headers = response.headers
        headers.setdefault("Content-Security-Policy", "; ".join(policy))
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("X-Frame-Options", "DENY")
        headers.setdefault("Referrer-Policy", "no-referrer" if carries_token() else "same-origin")
        headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if settings.is_secure:
            headers.setdefault("Strict-Transport-Security", HSTS)
        if response.mimetype in ("text/html", "application/problem+json") or carries_token():
            # Pages show who is signed in; neither a proxy nor the back button may keep them. Errors pass.
            headers.setdefault("Cache-Control", "no-store")
        return response


def carries_token() -> bool:
    """Whether this request's address holds a secret of a mailed link or ticket."""
    return any(name in request.args for name in ("token", "ticket", "code"))
