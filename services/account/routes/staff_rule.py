"""/admin/users/rules: what administrators decide for everybody."""

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, staff
from services.account.flows.staff_rule import (
    WouldLockYouOut,
    is_second_factor_required,
    require_second_factor_of_staff,
)

bp = Blueprint("staff_rule", __name__)

PAGE = "/admin/users/rules"


@bp.get(PAGE)
@staff("admin", fresh=True)
def show() -> ResponseReturnValue:
    return _page()


@bp.post(PAGE)
@staff("admin", fresh=True)
def change() -> ResponseReturnValue:
    """Make (`require`) or lift (`lift`) the rule that staff need a second factor."""
    required = "require" in request.form
    if not required and "lift" not in request.form:
        return redirect(PAGE, 303)
    try:
        require_second_factor_of_staff(required=required, by=current_session().sub)
    except WouldLockYouOut as refused:
        return _page(refused=refused), refused.status
    if required:
        flash(gettext("From now on staff need a second step."), "good")
    else:
        flash(gettext("Staff may sign in with one step again."), "good")
    return redirect(PAGE, 303)


def _page(refused: WouldLockYouOut | None = None) -> str:
    return render_template("staff_rule.html", is_required=is_second_factor_required(), refused=refused)
