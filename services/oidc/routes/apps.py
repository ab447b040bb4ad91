"""/account/apps: the apps that may act for a person, and the way to stop each."""

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, signed_in
from services.oidc.flows import apps
from services.oidc.flows.resources import in_words

bp = Blueprint("apps", __name__)


@bp.get("/account/apps")
@signed_in
def show() -> ResponseReturnValue:
    return render_template("apps.html", apps=apps.list_apps(sub=current_session().sub), in_words=in_words)


@bp.post("/account/apps")
@signed_in
def withdraw() -> ResponseReturnValue:
    """Take access back from the app whose id `withdraw` is."""
    name = apps.withdraw(sub=current_session().sub, client_id=request.form.get("withdraw", ""))
    flash(gettext("%(name)s has no access to your account any more.", name=name), "good")
    return redirect("/account/apps", 303)
