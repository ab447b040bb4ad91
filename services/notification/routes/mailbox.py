"""The development mailbox: every mail the suite sends, for people and for tests. Only in development."""

import base64
import hashlib
import re
import uuid

from flask import Blueprint, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import public
from libs.web.problems import wants_json
from services.notification.flows import mailbox

bp = Blueprint("mailbox", __name__)

NOTHING = "'none'"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@bp.get("/dev/mailbox")
@public
def mail_list() -> ResponseReturnValue:
    to = request.args.get("to", "").strip()
    mails = mailbox.newest(to=to)
    if wants_json():
        return jsonify([_to_json(mail) for mail in mails])
    return render_template("mailbox.html", mails=mails, to=to, is_in_use=mailbox.is_in_use())


@bp.get("/dev/mailbox/<uuid:mail_id>")
@public
def mail(mail_id: uuid.UUID) -> ResponseReturnValue:
    found = mailbox.get_mail(mail_id)
    if wants_json():
        return jsonify(_to_json(found))
    return render_template("mail.html", mail=found)


@bp.get("/dev/mailbox/<uuid:mail_id>/html")
@public
def mail_html(mail_id: uuid.UUID) -> ResponseReturnValue:
    """The HTML as a mail program would show it: its one style block, its links, and nothing else."""
    html = mailbox.get_mail(mail_id).html
    styles = " ".join(f"'sha256-{_digest(style)}'" for style in _STYLE.findall(html))
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {styles or NOTHING}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation"
    )
    # A browser refuses a sandboxed page that asks for an opener of its own.
    response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _digest(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def _to_json(found: mailbox.KeptMail) -> dict[str, str]:
    return {
        "to": found.to,
        "subject": found.subject,
        "text": found.text,
        "html": found.html,
        "sent_at": found.sent_at.isoformat(),
    }
