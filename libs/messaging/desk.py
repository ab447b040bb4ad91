"""The desk for events: staff see what a service could not handle and what still waits, and try it again."""

import contextlib
import time
import uuid

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from libs.messaging.events import SUBSCRIBERS
from libs.people.access import staff

MOST_RETRIED = 1000
RETRY_ALL_S = 15.0
"""No request takes longer."""


def retry_event(event_id: uuid.UUID) -> str:
    """Try a parked event of the current service again; returns its state.

    Raises LookupError when no parked event has this id.
    """
    from libs.service import parts_of

    parts = parts_of(current_app)
    state: str = parts.inbox.retry(event_id)
    with parts.db.transaction():
        parts.audit.record("event.retried", target=f"event:{event_id}", after={"state": state})
    return state


def retry_all() -> dict[uuid.UUID, str]:
    """Try every parked event of the current service again, the oldest first, once each; returns their states.

    A bounded number, so that whoever asks gets an answer; what is left stays parked.
    """
    from libs.service import parts_of

    deadline = time.monotonic() + RETRY_ALL_S
    states: dict[uuid.UUID, str] = {}
    for event in parts_of(current_app).inbox.parked(limit=MOST_RETRIED):
        if time.monotonic() > deadline:
            break
        with contextlib.suppress(LookupError):  # somebody was faster
            states[event.event_id] = retry_event(event.event_id)
    return states


def events_desk(service: str) -> Blueprint:
    """The page /admin/events/SERVICE."""
    bp = Blueprint("events", __name__, url_prefix=f"/admin/events/{service}")

    @bp.get("")
    @staff("support")
    def show() -> str:
        from libs.service import parts_of

        parts = parts_of(current_app)
        return render_template(
            "events.html",
            service=service,
            services=SUBSCRIBERS,
            parked=parts.inbox.parked(),
            parked_elsewhere=parts.outbox.listing(state="parked"),
            pending=parts.outbox.listing(state="pending"),
        )

    @bp.post("/<uuid:event_id>")
    @staff("support")
    def retry(event_id: uuid.UUID) -> ResponseReturnValue:
        try:
            state = retry_event(event_id)
        except LookupError:
            flash(gettext("Somebody was faster: this event is no longer parked."), "info")
        else:
            if state == "handled":
                flash(gettext("The event is handled."), "good")
            else:
                flash(gettext("It failed again, and is kept."), "bad")
        return redirect(url_for("events.show"), 303)

    @bp.post("/all")
    @staff("support")
    def retry_parked() -> ResponseReturnValue:
        states = list(retry_all().values())
        handled = states.count("handled")
        if handled:
            flash(ngettext("%(num)d event is handled.", "%(num)d events are handled.", handled), "good")
        if failed := len(states) - handled:
            flash(
                ngettext(
                    "%(num)d event failed again, and is kept.",
                    "%(num)d events failed again, and are kept.",
                    failed,
                ),
                "bad",
            )
        return redirect(url_for("events.show"), 303)

    return bp
