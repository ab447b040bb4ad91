"""/account/activity: the attempts to sign in to a person's account, for its owner."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from libs.people.access import current_session, signed_in
from services.account.flows.devices import device_name, method_name, outcome_name
from services.account.flows.login_events import Wanted, list_login_events
from services.account.flows.places import country_name
from services.account.routes.browser import asked_before

bp = Blueprint("activity", __name__)

LISTED = 50


@bp.get("/account/activity")
@signed_in
def show() -> ResponseReturnValue:
    """Every attempt that is kept, newest first; `before` is where the page before this one ended."""
    page = list_login_events(Wanted(sub=current_session().sub), before=asked_before(), limit=LISTED)
    return render_template(
        "activity.html",
        page=page,
        is_first=asked_before() is None,
        device_name=device_name,
        method_name=method_name,
        outcome_name=outcome_name,
        country_name=country_name,
    )
