"""The desk for events: staff see what a service could not handle and what still waits, and try it again."""

import uuid

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.messaging.events import EVENTS
from libs.people.access import staff


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
            services=sorted({name for event in EVENTS.values() for name in event.SUBSCRIBERS}),
            parked=parts.inbox.parked(),
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

    return bp
