"""The development mailbox: every mail the suite sends, for people and for tests. Only in development."""

import uuid

from flask import Blueprint, jsonify, render_template, request, url_for
from flask.typing import ResponseReturnValue

from libs.people.access import public
from libs.web.problems import wants_json
from services.notification.flows import mailbox
from services.notification.routes.letter_frame import framed, letter_page

bp = Blueprint("mailbox", __name__)


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
    frame = framed(url_for("mailbox.mail_html", mail_id=mail_id))
    return render_template("mail.html", mail=found, frame=frame)


@bp.get("/dev/mailbox/<uuid:mail_id>/html")
@public
def mail_html(mail_id: uuid.UUID) -> ResponseReturnValue:
    return letter_page(mailbox.get_mail(mail_id).html, links_work=True)


def _to_json(found: mailbox.KeptMail) -> dict[str, str]:
    return {
        "to": found.to,
        "subject": found.subject,
        "text": found.text,
        "html": found.html,
        "sent_at": found.sent_at.isoformat(),
    }
