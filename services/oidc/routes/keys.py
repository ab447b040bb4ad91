"""/admin/keys: what tokens are signed with, when that changes, and how to change it now."""

from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import format_datetime, format_timedelta, gettext, ngettext

from libs.database import utcnow
from libs.people.access import staff
from services.oidc.flows import keys

bp = Blueprint("keys", __name__, url_prefix="/admin/keys")

CONFIRMATION = "emergency"
"""What has to be typed, in every language: nobody comes upon it by a slip."""


@bp.get("")
@staff("admin")
def index() -> ResponseReturnValue:
    return _page()


@bp.post("/rotate")
@staff("admin", fresh=True)
def rotate() -> ResponseReturnValue:
    """Let the next keys sign now."""
    rotation = keys.rotate()
    if rotation.turns:
        names = ", ".join(turn.alg for turn in rotation.turns)
        flash(
            gettext(
                "New keys sign now: %(names)s. The ones before verify until %(moment)s.",
                names=names,
                moment=_moment(rotation.retires_at),
            ),
            "good",
        )
    for turn in rotation.turns:
        if turn.unknown_until is not None:
            flash(
                gettext(
                    "Apps that do not fetch our keys again by themselves may not know the one of %(alg)s"
                    " until %(moment)s.",
                    alg=turn.alg,
                    moment=_moment(turn.unknown_until),
                ),
                "info",
            )
    for alg, ready_at in rotation.waiting.items():
        flash(
            gettext(
                "The next key of %(alg)s can sign from %(moment)s on: until then apps may not know it.",
                alg=alg,
                moment=_moment(ready_at),
            ),
            "info",
        )
    return redirect("/admin/keys", 303)


@bp.post("/emergency")
@staff("admin", fresh=True)
def emergency() -> ResponseReturnValue:
    """Replace every key at once, and believe nothing that they signed; `confirm` holds the typed word."""
    if request.form.get("confirm", "").strip().lower() != CONFIRMATION:
        return _page(gettext("Type the word as it stands here.")), 422
    made = keys.replace_suspects()
    flash(
        ngettext(
            "%(num)s key is withdrawn, and new ones sign. Apps may hold the old one until %(moment)s.",
            "%(num)s keys are withdrawn, and new ones sign. Apps may hold the old ones until %(moment)s.",
            len(made.withdrawn),
            moment=_moment(made.cached_until),
        ),
        "good",
    )
    return redirect("/admin/keys", 303)


def _page(error: str | None = None) -> str:
    found = keys.list_keys()
    return render_template(
        "keys.html",
        published=sorted((key for key in found if key.state != "retired"), key=lambda key: key.alg),
        retired=[key for key in found if key.state == "retired"],
        age=_age,
        confirmation=CONFIRMATION,
        caching=format_timedelta(keys.timing().caching),
        error=error,
    )


def _age(key: keys.Listed) -> str:
    """For how long a key has been what it is."""
    since = {
        "current": key.activated_at,
        "previous": key.replaced_at,
        "retired": key.withdrawn_at or key.retired_at,
    }.get(key.state)
    return format_timedelta(utcnow() - (since or key.created_at), granularity="minute")


def _moment(moment: datetime) -> str:
    return format_datetime(moment, "short")
