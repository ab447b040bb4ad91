"""/admin/users/blocks: who is kept out, and for how long."""

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, staff
from libs.web.client_address import client_address, parse_network
from services.account.flows.blocks import BadBlock, add_block, lift_block, list_blocks

bp = Blueprint("blocks", __name__, url_prefix="/admin/users/blocks")

DAY_H = 24


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    """The blocks that hold, and for administrators the form; `what` fills it in."""
    return _page({"what": request.args.get("what", "")[:254], "hours": "1", "reason": ""})


@bp.post("")
@staff("admin")
def add() -> ResponseReturnValue:
    entered = {name: request.form.get(name, "").replace("\x00", "") for name in ("what", "hours", "reason")}
    what, hours = entered["what"].strip(), entered["hours"]
    is_network = parse_network(what) is not None or "/" in what
    try:
        add_block(
            network=what if is_network else None,
            domain=what if what and not is_network else None,
            life=timedelta(hours=int(hours) if hours in dict(_lengths()) else 0),
            reason=entered["reason"],
            own_ip=client_address(),
            own_email=str(current_session().claims.get("email", "")),
        )
    except BadBlock as refused:
        return _page(entered, refused.errors), refused.status
    flash(gettext("Nobody from there signs in until the block ends. Open sessions stay."), "good")
    return redirect(url_for("blocks.index"), 303)


@bp.post("/<uuid:block_id>/lift")
@staff("admin")
def lift(block_id: UUID) -> ResponseReturnValue:
    lift_block(block_id=block_id)
    flash(gettext("The block is lifted."), "good")
    return redirect(url_for("blocks.index"), 303)


def _lengths() -> list[tuple[str, str]]:
    return [
        ("1", gettext("one hour")),
        (str(DAY_H), gettext("one day")),
        (str(7 * DAY_H), gettext("one week")),
        (str(30 * DAY_H), gettext("30 days")),
    ]


def _page(entered: dict[str, str], errors: dict[str, str] | None = None) -> str:
    return render_template(
        "blocks.html", blocks=list_blocks(), entered=entered, errors=errors or {}, lengths=_lengths()
    )
