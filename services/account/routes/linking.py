"""/link and /login/with: to an account elsewhere and back; /account/links: which ones sign a person in."""

from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from libs.people import access
from libs.people.access import public, signed_in
from libs.people.sessions import current_session
from libs.web.headers import allow_form_target
from libs.web.problems import Problem
from libs.web.redirects import safe_path
from services.account.extensions import limiter
from services.account.flows import linking
from services.account.flows.login import AccountDisabled
from services.account.flows.ways_in import LastWayIn
from services.account.providers import find_provider, label_of
from services.account.routes.browser import sent_on, visitor, wanted_path

bp = Blueprint("linking", __name__)

PER_ADDRESS = "60 per minute"
VISIT = "provider_visit"
"""Where the browser's session keeps the id of its visit to a provider."""
LINKS = "/account/links"


# -- going there -----------------------------------------------------------------------------------------------


@bp.post("/login/with/<provider>")
@limiter.limit("login", PER_ADDRESS)
@public
def begin_sign_in(provider: str) -> ResponseReturnValue:
    target = safe_path(request.form.get("continue"), "/account")
    try:
        departure = linking.begin_visit(provider=provider, visitor=visitor(), continue_to=target)
    except linking.ProviderUnavailable as refused:
        return _back_to_sign_in(refused, target)
    return _departed(departure)


@bp.post("/link/<provider>")
@limiter.limit("link", "20 per hour")
@signed_in(fresh=True)
def begin_link(provider: str) -> ResponseReturnValue:
    sub = access.current_session().sub
    try:
        departure = linking.begin_visit(provider=provider, visitor=visitor(), continue_to=LINKS, sub=sub)
    except linking.ProviderUnavailable as refused:
        flash(str(refused.detail), "bad")
        return redirect(LINKS, 303)
    return _departed(departure)


@bp.get("/link/<provider>")
@signed_in
def start_over(provider: str) -> ResponseReturnValue:
    """Whoever was asked to send the form again and rather begins anew."""
    return redirect(LINKS, 303)


def _departed(departure: linking.Departure) -> AnyResponse:
    session[VISIT] = str(departure.visit_id)
    return redirect(departure.url, 303)


# -- coming back -----------------------------------------------------------------------------------------------


@bp.get("/link/<provider>/callback")
@public
def come_back(provider: str) -> ResponseReturnValue:
    """The provider's redirect: a GET from another site, which only this browser's own open visit makes count."""
    try:
        visit = linking.come_back(
            visit_id=_open_visit(), provider=provider, state=request.args.get("state", ""), visitor=visitor()
        )
    except linking.VisitEnded as refused:
        return _closed(refused, provider)
    answer = linking.Answer(
        state=request.args.get("state", ""),
        code=request.args.get("code"),
        error=request.args.get("error"),
        iss=request.args.get("iss"),
    )
    return _signed_in(visit, answer) if visit.purpose == "sign_in" else _linked(visit, answer)


def _signed_in(visit: linking.Visit, answer: linking.Answer) -> ResponseReturnValue:
    try:
        identity = linking.identify(visit, answer=answer, visitor=visitor())
    except (linking.Cancelled, linking.ProviderUnavailable) as refused:
        return _back_to_sign_in(refused, visit.continue_to)
    try:
        done = linking.sign_in_with(visit, identity=identity, visitor=visitor())
    except linking.NotLinked as refused:
        return _closed(
            refused, visit.provider.name, login_hint=identity.email, **{"continue": visit.continue_to}
        )
    except AccountDisabled as refused:
        return _back_to_sign_in(refused, visit.continue_to)
    return sent_on(done, visit.continue_to)


def _linked(visit: linking.Visit, answer: linking.Answer) -> ResponseReturnValue:
    label = visit.provider.label
    try:
        identity = linking.identify(visit, answer=answer, visitor=visitor())
        is_new = linking.link(visit, by=current_session(), identity=identity, visitor=visitor())
    except (linking.VisitEnded, linking.IdentityTaken) as refused:
        return _closed(refused, visit.provider.name)
    except (linking.Cancelled, linking.ProviderUnavailable, linking.AlreadyLinked) as refused:
        flash(_words(refused), "bad")
        return redirect(LINKS, 303)
    if is_new:
        flash(gettext("You can sign in with %(provider)s now.", provider=label), "good")
    else:
        flash(gettext("This account at %(provider)s was linked already.", provider=label), "info")
    return redirect(visit.continue_to, 303)


def _open_visit() -> UUID | None:
    """The visit that this browser is on; its id is forgotten here, however it ends."""
    try:
        return UUID(session.pop(VISIT, ""))
    except ValueError:
        return None


def _back_to_sign_in(refused: Problem, target: str) -> AnyResponse:
    flash(_words(refused), "bad")
    return redirect("/login?" + urlencode({"continue": target}), 303)


def _words(refused: Problem) -> str:
    return str(refused.detail or refused.title)


def _closed(refused: Problem, provider: str, **wishes: str | None) -> AnyResponse:
    """On to a page whose address holds nothing of the provider's answer, and may be read in another language."""
    query = urlencode({name: value for name, value in wishes.items() if value})
    return redirect(f"/link/{provider}/{refused.slug}" + (f"?{query}" if query else ""), 303)


REFUSALS: dict[str, type[Problem]] = {
    refusal.slug: refusal for refusal in (linking.NotLinked, linking.IdentityTaken, linking.VisitEnded)
}


@bp.get("/link/<provider>/<any('not-linked', 'identity-taken', 'visit-ended'):why>")
@public
def closed(provider: str, why: str) -> ResponseReturnValue:
    """What to do now. `continue` is where the person wanted to go, `login_hint` an address to sign in with."""
    there = find_provider(provider)
    if there is None:
        raise linking.UnknownProvider
    email = request.args.get("login_hint", "")[:254]
    refusal = REFUSALS[why]
    page = render_template(
        "linking_closed.html",
        why=why,
        title=refusal.title,
        provider=there.label,
        sign_in={"continue": LINKS, **({"login_hint": email} if email else {})},
        wanted=wanted_path(),
        is_signed_in=current_session() is not None,
    )
    return page, refusal.status


# -- the person's own list -------------------------------------------------------------------------------------


@bp.get("/account/links")
@signed_in
def show() -> ResponseReturnValue:
    return _list()


@bp.post("/account/links")
@signed_in(fresh=True)
def unlink() -> ResponseReturnValue:
    """Unlink one (`unlink` is the provider's name)."""
    person = access.current_session()
    provider = request.form.get("unlink", "")
    try:
        linking.unlink(sub=person.sub, provider=provider, keep_sid=person.sid, visitor=visitor())
    except LastWayIn as refused:
        return _list(error=f"{refused.title}. {refused.detail}"), refused.status
    flash(gettext("You can no longer sign in with %(provider)s.", provider=label_of(provider)), "good")
    return redirect(LINKS, 303)


def _list(error: str | None = None) -> str:
    links = {link.provider: link for link in linking.list_links(sub=access.current_session().sub)}
    choices = linking.choices()
    allow_form_target(LINKS)  # linking leaves for the provider
    return render_template(
        "linking.html",
        choices=choices,
        links=links,
        others=[link for name, link in links.items() if name not in {choice.name for choice in choices}],
        label_of=label_of,
        error=error,
    )
