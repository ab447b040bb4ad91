"""The HTML of a letter inside a page of ours: in a frame that may do nothing, whatever the letter says."""

import base64
import hashlib
import re

from flask import Response, current_app

from libs.service import parts_of
from libs.web.headers import allow_frames

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def framed(path: str) -> str:
    """Let this page frame our own origin. Returns the address of the frame."""
    origin = parts_of(current_app).settings.PUBLIC_URL
    allow_frames([origin])
    return path


def letter_page(html: str, *, links_work: bool) -> Response:
    """The HTML as a mail program would show it: its one style block and nothing else.

    Its links lead the whole window on, or where they are invented nowhere.
    """
    styles = " ".join(f"'sha256-{_digest(style)}'" for style in _STYLE.findall(html)) or "'none'"
    sandbox = "sandbox allow-top-navigation-by-user-activation" if links_work else "sandbox"
    # A link would open in the frame, where our pages refuse to be.
    html = html.replace("<head>", '<head>\n  <base target="_top">', 1)
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {styles}; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'self'; {sandbox}"
    )
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    # A browser refuses a sandboxed page that asks for an opener of its own.
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _digest(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
