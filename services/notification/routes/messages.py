"""Messages for staff: which mail left, which waits, which failed and why. Never what a mail said."""

import uuid

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

from libs.people.access import staff
from services.notification.extensions import limiter
from services.notification.flows import lifecycle, messages
from services.notification.flows.messages import LinkExpired, NothingToRetry

bp = Blueprint("messages", __name__)

STATE_WORDS = {
    "queued": lazy_gettext("Waiting"),
    "sending": lazy_gettext("On its way"),
    "sent": lazy_gettext("Sent"),
    "deferred": lazy_gettext("Waiting for another try"),
    "failed": lazy_gettext("Failed"),
    "parked": lazy_gettext("Parked"),
    "suppressed": lazy_gettext("Suppressed"),
}
REASON_WORDS = {
    lifecycle.TOO_LATE: lazy_gettext("Too late: the link in it expired before it could leave"),
    lifecycle.TOO_MANY_TRIES: lazy_gettext("Too many tries"),
    lifecycle.REFUSED: lazy_gettext("The mail server refused it for good"),
    lifecycle.UNWRITABLE: lazy_gettext("No mail could be made of it"),
}
RESULT_WORDS = {
    None: lazy_gettext("Under way"),
    "sent": lazy_gettext("Taken by the server"),
    "deferred": lazy_gettext("Not now"),
    "unreachable": lazy_gettext("Server not reached"),
    "refused": lazy_gettext("Refused"),
    "unwritable": lazy_gettext("Not written"),
    "lost": lazy_gettext("Cut short"),
}
TEMPLATE_WORDS = {
    "confirm_address": lazy_gettext("Confirm the address"),
    "activation_link": lazy_gettext("Activation link"),
    "application_rejected": lazy_gettext("Application rejected"),
    "invitation": lazy_gettext("Invitation"),
    "application_question": lazy_gettext("Question to an applicant"),
    "decision_taken_back": lazy_gettext("Decision taken back"),
    "application_waits": lazy_gettext("Application waits"),
    "review_digest": lazy_gettext("Digest for reviewers"),
    "set_password": lazy_gettext("Set a password"),
    "reset_password": lazy_gettext("Reset the password"),
    "account_secured": lazy_gettext("Account secured"),
    "password_changed": lazy_gettext("Password changed"),
    "new_device": lazy_gettext("New device"),
    "sign_in_code": lazy_gettext("Sign-in code"),
    "sign_in_threatened": lazy_gettext("Sign-in in danger"),
    "passkey_added": lazy_gettext("Passkey added"),
    "passkey_removed": lazy_gettext("Passkey removed"),
    "passkey_copied": lazy_gettext("Passkey copied"),
    "provider_linked": lazy_gettext("Account linked"),
    "provider_unlinked": lazy_gettext("Account unlinked"),
    "second_factor_added": lazy_gettext("Second step set up"),
    "second_factor_removed": lazy_gettext("Second step removed"),
    "recovery_codes_made": lazy_gettext("New recovery codes"),
    "recovery_code_used": lazy_gettext("Recovery code used"),
    "second_factor_reset_started": lazy_gettext("Way back begun"),
    "second_factor_reset_ready": lazy_gettext("Way back ready"),
    "second_factor_reset_done": lazy_gettext("Way back taken"),
    "second_factor_reset_by_staff": lazy_gettext("Second step removed by staff"),
    "confirm_new_email": lazy_gettext("Confirm a new address"),
    "email_in_use": lazy_gettext("Address in use"),
    "email_changed": lazy_gettext("Address changed"),
    "data_ready": lazy_gettext("Data ready"),
    "erasure_scheduled": lazy_gettext("Account to be erased"),
    "account_kept": lazy_gettext("Account kept"),
    "account_erased": lazy_gettext("Account erased"),
}


@bp.context_processor
def _words() -> dict[str, object]:
    return {
        "state_words": STATE_WORDS,
        "reason_words": REASON_WORDS,
        "result_words": RESULT_WORDS,
        "template_words": TEMPLATE_WORDS,
    }


@bp.get("/admin/messages")
@staff("reviewer", "support")
def message_list() -> ResponseReturnValue:
    state = request.args.get("state", "")
    rows = messages.list_messages(
        state=state, before=_uuid(request.args.get("before")), limit=messages.PAGE + 1
    )
    page = rows[: messages.PAGE]
    older = (
        url_for("messages.message_list", state=state or None, before=page[-1].id)
        if rows[len(page) :]
        else None
    )
    return render_template("messages.html", messages=page, state=state, older=older)


@bp.get("/admin/messages/<uuid:message_id>")
@staff("reviewer", "support")
def message(message_id: uuid.UUID) -> ResponseReturnValue:
    found = messages.get_message(message_id)
    return render_template("message.html", message=found, may_retry=_may_retry(found))


@bp.post("/admin/messages/<uuid:message_id>")
@limiter.limit("message_retry", "60 per minute")
@staff("reviewer", "support")
def retry(message_id: uuid.UUID) -> ResponseReturnValue:
    try:
        messages.retry(message_id=message_id)
        flash(gettext("The message is queued again."), "good")
    except (NothingToRetry, LinkExpired) as problem:
        flash(str(problem.title), "bad")
    return redirect(url_for("messages.message", message_id=message_id), 303)


def _may_retry(found: messages.Message) -> bool:
    return found.state in lifecycle.STANDS and found.sealed_context is not None


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
