"""/admin/messages/suppressions: addresses that are written to no more, and writing to them again."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

from libs.people.access import staff
from services.notification.extensions import limiter
from services.notification.flows import suppressions
from services.notification.flows.recipients import mailbox_of
from services.notification.flows.suppressions import PAGE, UnknownSuppression
from services.notification.schemas import LONGEST_REASON

bp = Blueprint("suppressions", __name__)

REASON_WORDS = {
    "refused": lazy_gettext("The mail server refused it for good"),
    "bounced": lazy_gettext("Mail to it came back for good"),
    "complained": lazy_gettext("Its owner calls our mail unwanted"),
}
ACTION_WORDS = {
    "address.suppressed": lazy_gettext("Address suppressed"),
    "address.suppression_lifted": lazy_gettext("Lifted"),
}


@bp.get("/admin/messages/suppressions")
@staff("reviewer", "support")
def index() -> ResponseReturnValue:
    """The list, those whose address begins with `q`; of a whole address also what happened to it before."""
    return _page()


@bp.post("/admin/messages/suppressions")
@limiter.limit("suppression_lift", "60 per minute")
@staff("reviewer", "support")
def lift() -> ResponseReturnValue:
    email, reason = (request.form.get(name, "").replace("\0", "").strip() for name in ("email", "reason"))
    if not reason:
        return _page(gettext("Say why, for the audit.")), 422
    try:
        suppressions.lift(email=email, reason=reason[:LONGEST_REASON])
        flash(gettext("%(email)s may have mail again.", email=email), "good")
    except UnknownSuppression as refused:
        flash(str(refused.title), "bad")
    return redirect(url_for("suppressions.index", q=email), 303)


def _page(error: str | None = None) -> str:
    text = request.values.get("q", "").replace("\0", "").strip()
    found = suppressions.list_suppressions(text=text, after=request.args.get("after"), limit=PAGE + 1)
    rows = found[:PAGE]
    return render_template(
        "suppressions.html",
        rows=rows,
        text=text,
        error=error,
        chosen=next((row for row in rows if row.email == mailbox_of(text)), None),
        history=suppressions.history(text) if "@" in text else [],
        older=url_for("suppressions.index", q=text or None, after=rows[-1].email) if found[PAGE:] else None,
        reason_words=REASON_WORDS,
        action_words=ACTION_WORDS,
    )
