"""/admin/clients/registration-tokens: administrators let apps register themselves, a number of them for a while.

Making a token opens a door and wants a fresh sign-in; ending one never waits for that.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext

from libs.people.access import staff
from libs.service import parts_of
from libs.web import shown_once
from services.oidc.flows import registration_tokens as flows

bp = Blueprint("registration_tokens", __name__, url_prefix="/admin/clients/registration-tokens")

LIFETIMES_D = (7, 1, 30, 365)
"""How long a token may hold; the first is what is usual."""
SHOWN_ONCE = "registration-token"
USUAL = {"note": "", "uses": "1", "lifetime": str(LIFETIMES_D[0])}


@bp.get("")
@staff("admin")
def index() -> ResponseReturnValue:
    return _page(USUAL)


@bp.post("")
@staff("admin", fresh=True)
def create() -> ResponseReturnValue:
    """Make a token; the page that comes next shows it, once."""
    entered = {name: request.form.get(name, usual) for name, usual in USUAL.items()}
    try:
        _, token = flows.create_registration_token(
            note=entered["note"], uses=_number(entered["uses"]), lifetime=_lifetime(entered["lifetime"])
        )
    except flows.InvalidRegistrationToken as refused:
        return _page(entered, errors=refused.errors), refused.status
    shown_once.keep(SHOWN_ONCE, token)
    return redirect(url_for("registration_tokens.index"), 303)


@bp.post("/<uuid:token_id>/revoke")
@staff("admin")
def revoke(token_id: UUID) -> ResponseReturnValue:
    if flows.revoke_registration_token(token_id):
        flash(gettext("The token is revoked: nobody registers an app with it any more."), "good")
    else:
        flash(gettext("The token was revoked before."), "info")
    return redirect(url_for("registration_tokens.index"), 303)


def _number(text: str) -> int | None:
    """How often a token serves; nothing is any number, and what is no number serves nobody."""
    text = text.strip()
    if not text:
        return None
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _lifetime(text: str) -> timedelta:
    return timedelta(days=int(text) if text in map(str, LIFETIMES_D) else LIFETIMES_D[0])


def _page(entered: Mapping[str, str], *, errors: Mapping[str, object] | None = None) -> str:
    return render_template(
        "registration_tokens.html",
        tokens=[(token, flows.state_of(token)) for token in flows.list_registration_tokens()],
        state_words=_state_words(),
        lifetimes=[(str(days), ngettext("%(num)s day", "%(num)s days", days)) for days in LIFETIMES_D],
        entered=entered,
        errors=errors or {},
        policy=parts_of(current_app).settings.REGISTRATION,
        # Last of what may fail: it is there only once.
        new_token=shown_once.take(SHOWN_ONCE),
    )


def _state_words() -> Mapping[str, str]:
    return {
        "holds": gettext("holds"),
        "revoked": gettext("revoked"),
        "expired": gettext("expired"),
        "used": gettext("used up"),
    }
