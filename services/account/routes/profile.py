"""/account/profile: what a person says about themselves, and how we speak to them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import force_locale, gettext

from libs.people.access import current_session, signed_in
from libs.web.languages import LANGUAGES
from services.account.flows.profile import change_profile, profile_of
from services.account.flows.users import BadUser, get_user
from services.account.schemas.profile import Address, ProfileChanges, time_zones

bp = Blueprint("profile", __name__)

ADDRESS = tuple(Address().fields)
CLAIMS = tuple(name for name in ProfileChanges().fields if name != "address")
REGIONS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific",
)  # fmt: skip
"""The time zones of places; the others are older names and fixed offsets."""


@bp.get("/account/profile")
@signed_in
def show() -> ResponseReturnValue:
    return _page(profile_of(get_user(sub=current_session().sub)), errors={})


@bp.post("/account/profile")
@signed_in
def change() -> ResponseReturnValue:
    """Change what the form has: one is about the person, another about language and time zone."""
    sub = current_session().sub
    changes = _sent()
    try:
        user = change_profile(sub=sub, changes=changes)
    except BadUser as refused:
        return _page({**profile_of(get_user(sub=sub)), **changes}, errors=refused.errors), refused.status
    with force_locale(user.locale):  # which was chosen just now, perhaps
        flash(gettext("Saved."), "good")
    return redirect("/account/profile", 303)


def _sent() -> dict[str, Any]:
    changes: dict[str, Any] = {name: request.form[name] for name in CLAIMS if name in request.form}
    if any(name in request.form for name in ADDRESS):
        changes["address"] = {name: request.form.get(name, "") for name in ADDRESS}
    return changes


def _page(values: Mapping[str, Any], *, errors: Mapping[str, Any]) -> str:
    zones = sorted(name for name in time_zones() if name.partition("/")[0] in REGIONS)
    chosen = values.get("zoneinfo") or ""
    if chosen and chosen not in zones:
        zones.insert(0, chosen)
    return render_template(
        "profile.html",
        values=values,
        address=values.get("address") or {},
        errors=errors,
        language_options=list(LANGUAGES.items()),
        zone_options=[("", gettext("not given")), *((zone, zone.replace("_", " ")) for zone in zones)],
    )
