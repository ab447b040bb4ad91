"""/account/data: all that every service holds about the person, asked for and taken along."""

from flask import Blueprint, Response, flash, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.database import utcnow
from libs.people.access import signed_in
from services.account.extensions import limiter
from services.account.flows.data_download import (
    DataGone,
    RequestUnderWay,
    ask_for_data,
    find_request,
    look_at_data,
    take_data,
)
from services.account.routes.browser import asker, link_token

bp = Blueprint("data_download", __name__)


ASKING = "10 per day"
"""How often a person may ask, on the page and by their apps together."""


@bp.get("/account/data")
@signed_in(fresh=True)
def show() -> ResponseReturnValue:
    return render_template("data_download/ask.html", asked=find_request(sub=asker()))


@bp.post("/account/data")
@limiter.limit("data_request", ASKING, by=asker)
@signed_in(fresh=True)
def ask() -> ResponseReturnValue:
    try:
        ask_for_data(sub=asker())
        flash(gettext("We are collecting your data. A mail tells you when it is ready."), "good")
    except RequestUnderWay as refused:
        flash(str(refused.title), "info")
    return redirect("/account/data", 303)


@bp.get("/account/data/download")
@signed_in(fresh=True)
def look() -> ResponseReturnValue:
    """The button; nothing is handed out to whoever only looks."""
    try:
        found = look_at_data(sub=asker(), token=link_token())
    except DataGone as refused:
        return render_template("data_download/closed.html"), refused.status
    return render_template("data_download/download.html", found=found)


@bp.post("/account/data/download")
@limiter.limit("data_download", "30 per hour", by=asker)
@signed_in(fresh=True)
def download() -> ResponseReturnValue:
    try:
        content = take_data(sub=asker(), token=link_token())
    except DataGone as refused:
        return render_template("data_download/closed.html"), refused.status
    answer = Response(content, content_type="application/json; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="updspace-id-{utcnow():%Y-%m-%d}.json"'
    answer.headers["Cache-Control"] = "no-store"
    return answer
