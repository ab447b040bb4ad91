"""/account/second-factor: the second step of signing in is set up, replaced and removed; recovery codes are made."""

import segno
from flask import Blueprint, Response, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from markupsafe import Markup

from libs.database import utcnow
from libs.people.access import current_session, signed_in
from services.account.extensions import limiter
from services.account.flows import totp
from services.account.flows.recovery_codes import NothingToRecover, are_codes_of, make_recovery_codes
from services.account.flows.second_factor import list_factors
from services.account.flows.second_factor_reset import cancel_reset
from services.account.routes.browser import give_sessions, visitor

bp = Blueprint("second_factor", __name__)

PAGE = "/account/second-factor"
APP_PAGE = "/account/second-factor/app"


@bp.get(PAGE)
@signed_in(fresh=True)
def show() -> ResponseReturnValue:
    session = current_session()
    return render_template("second_factor.html", factors=list_factors(sub=session.sub), acr=session.acr)


@bp.post(PAGE)
@signed_in(fresh=True)
def change() -> ResponseReturnValue:
    """Begin to `set_up` an app, `remove` it, make new `codes`, or end the way back (`cancel_reset`)."""
    sub = current_session().sub
    if "set_up" in request.form:
        totp.set_up_totp(sub=sub)
        return redirect(APP_PAGE, 303)
    if "codes" in request.form:
        try:
            return codes_page(make_recovery_codes(sub=sub, visitor=visitor()))
        except NothingToRecover:
            return redirect(PAGE, 303)
    if "remove" in request.form and totp.remove_totp(sub=sub, visitor=visitor()):
        flash(gettext("The authenticator app was removed."), "good")
    if "cancel_reset" in request.form and cancel_reset(sub=sub):
        flash(gettext("The second step stays. Nothing will be removed."), "good")
    return redirect(PAGE, 303)


@bp.get(APP_PAGE)
@signed_in(fresh=True)
def show_app() -> ResponseReturnValue:
    """What the new app has to be told, until its first code has come."""
    try:
        return _app_page()
    except totp.NothingPending:
        return redirect(PAGE, 303)


@bp.post(APP_PAGE)
@limiter.limit("second_factor_setup", "30 per 5 minutes")
@signed_in(fresh=True)
def confirm_app() -> ResponseReturnValue:
    """The first code. From here on this session counts as one of two factors, under a new secret."""
    try:
        done = totp.confirm_totp(
            session=current_session(), code=request.form.get("code", ""), visitor=visitor()
        )
    except totp.NothingPending as refused:
        flash(refused.title, "bad")
        return redirect(PAGE, 303)
    except totp.WrongCode as refused:
        return _app_page(error=refused.errors["code"]), refused.status
    if done.recovery_codes is None:
        flash(gettext("The authenticator app is set up."), "good")
        return give_sessions(redirect(PAGE, 303), done.sign_in.secrets)
    page = current_app.make_response(codes_page(done.recovery_codes, is_first=True))
    return give_sessions(page, done.sign_in.secrets)


@bp.post("/account/second-factor/recovery-codes.txt")
@signed_in
def download_codes() -> ResponseReturnValue:
    """The codes that the page before shows, as a file. It brings them itself: we keep only their hashes."""
    codes = request.form.getlist("recovery_code")
    if not are_codes_of(sub=current_session().sub, codes=codes):
        flash(gettext("These codes do not work any more. You can make new ones."), "bad")
        return redirect(PAGE, 303)
    text = "\n".join(
        [gettext("Recovery codes of your UpdSpace ID account; each works once:"), "", *codes, ""]
    )
    response = Response(text, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="updspace-id-recovery-codes.txt"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _app_page(error: str | None = None) -> str:
    app = totp.find_new_app(sub=current_session().sub)
    return render_template(
        "second_factor_app.html", secret=in_groups(app.secret), qr=_qr(app.uri), error=error
    )


def codes_page(codes: list[str], *, is_first: bool = False) -> str:
    """The one look at new recovery codes."""
    return render_template("recovery_codes.html", codes=codes, is_first=is_first, made_at=utcnow())


def in_groups(secret: str) -> str:
    """A secret as people type it: four signs at a time."""
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def _qr(text: str) -> Markup:
    """A QR code as an SVG element. Its colours are attributes: the page's policy allows no style of its own."""
    code = segno.make(text, error="m", micro=False)
    # segno draws it, from modules alone: no text of ours or anybody's is in it.
    return Markup(code.svg_inline(omitsize=True, border=3, svgclass="qr", lineclass=None, light="#fff"))  # noqa: S704
