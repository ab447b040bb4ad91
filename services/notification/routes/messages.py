"""Messages for staff: which mail left, which waits, which failed and why. Never what a mail said."""

import uuid
from urllib.parse import urlencode

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

from libs.people.access import staff
from libs.web.problems import Problem
from services.notification.extensions import limiter
from services.notification.flows import lifecycle, messages
from services.notification.flows.messages import UnknownMessage
from services.notification.flows.search import UNDELIVERED, TooManyAddresses, Wanted, search_messages
from services.notification.models import STATES

bp = Blueprint("messages", __name__)

NAMES = ("to", "template", "state", "number", "message_id")
"""What the list is narrowed by."""
UNDELIVERED_STATE = "undelivered"

STATE_WORDS = {
    "queued": lazy_gettext("Waiting"),
    "sending": lazy_gettext("On its way"),
    "sent": lazy_gettext("Sent"),
    "deferred": lazy_gettext("Waiting for another try"),
    "failed": lazy_gettext("Failed"),
    "parked": lazy_gettext("Parked"),
    "suppressed": lazy_gettext("Suppressed"),
    "held": lazy_gettext("Held since a restore"),
}
REASON_WORDS = {
    lifecycle.TOO_LATE: lazy_gettext("Too late: the link in it expired before it could leave"),
    lifecycle.TOO_MANY_TRIES: lazy_gettext("Too many tries"),
    lifecycle.REFUSED: lazy_gettext("The mail server refused it for good"),
    lifecycle.UNWRITABLE: lazy_gettext("No mail could be made of it"),
    lifecycle.LOST: lazy_gettext("Workers ended in the middle of it, several in a row"),
    lifecycle.SUPPRESSED: lazy_gettext("Its address is suppressed"),
    lifecycle.CAPPED: lazy_gettext("Its address had enough mail for this hour"),
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
    "invitation": lazy_gettext("Invitation"),
    "confirm_address": lazy_gettext("Confirm the address"),
    "address_confirmed": lazy_gettext("Address confirmed"),
    "application_question": lazy_gettext("Question to an applicant"),
    "activation_link": lazy_gettext("Activation link"),
    "application_rejected": lazy_gettext("Application rejected"),
    "decision_taken_back": lazy_gettext("Decision taken back"),
    "application_withdrawn": lazy_gettext("Application withdrawn"),
    "application_expired": lazy_gettext("Application expired"),
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
REPORT_WORDS = {
    "bounced": lazy_gettext("It came back"),
    "complained": lazy_gettext("Its reader does not want our mail"),
    "delivered": lazy_gettext("It arrived in the mailbox"),
}


@bp.context_processor
def _words() -> dict[str, object]:
    return {
        "state_words": STATE_WORDS,
        "reason_words": REASON_WORDS,
        "result_words": RESULT_WORDS,
        "template_words": TEMPLATE_WORDS,
        "report_words": REPORT_WORDS,
    }


@bp.get("/admin/messages")
@staff("reviewer", "support")
def message_list() -> ResponseReturnValue:
    """The list, narrowed by what the address names; `before` is where the page before this one ended."""
    entered = {name: request.args.get(name, "").strip() for name in NAMES}
    before = _uuid(request.args.get("before"))
    page, errors = None, {}
    try:
        page = search_messages(_wanted(entered), before=before)
    except TooManyAddresses as refused:
        errors = refused.errors
    shown = render_template(
        "messages.html",
        page=page,
        entered=entered,
        errors=errors,
        states=[("", gettext("All")), (UNDELIVERED_STATE, gettext("Failed or parked")), *STATE_WORDS.items()],
        templates=[
            ("", gettext("All")),
            *sorted(((name, str(words)) for name, words in TEMPLATE_WORDS.items()), key=_words_of),
        ],
        older=_list_url(entered, page.before) if page and page.before else None,
        newest=_list_url(entered) if before else None,
    )
    return shown, 422 if errors else 200


@bp.get("/admin/messages/<uuid:message_id>")
@staff("reviewer", "support")
def message(message_id: uuid.UUID) -> ResponseReturnValue:
    found = messages.get_message(message_id)
    return render_template("message.html", message=found, obstacle=messages.obstacle(found))


@bp.post("/admin/messages/<uuid:message_id>")
@limiter.limit("message_retry", "60 per minute")
@staff("reviewer", "support")
def retry(message_id: uuid.UUID) -> ResponseReturnValue:
    try:
        messages.retry(message_id=message_id)
        flash(gettext("The message is queued again."), "good")
    except UnknownMessage:
        raise
    except Problem as refused:
        flash(str(refused.title), "bad")
    return redirect(url_for("messages.message", message_id=message_id), 303)


def _wanted(entered: dict[str, str]) -> Wanted:
    state = entered["state"]
    return Wanted(
        to=entered["to"],
        template=entered["template"],
        states=UNDELIVERED if state == UNDELIVERED_STATE else (state,) if state in STATES else (),
        correlation_id=entered["number"],
        header_id=entered["message_id"],
    )


def _list_url(entered: dict[str, str], before: uuid.UUID | None = None) -> str:
    named = {name: value for name, value in entered.items() if value}
    if before:
        named["before"] = str(before)
    return f"{request.path}?{urlencode(named)}"


def _words_of(option: tuple[str, str]) -> str:
    return option[1].casefold()


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
