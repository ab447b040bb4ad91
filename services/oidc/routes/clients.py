"""/admin/clients: staff find an app, see what happens with it, make one, and let it in or not.

Support looks; an administrator changes. Whatever could open a door (a secret, an address, an app let in again) and
what cannot be undone want a fresh sign-in; stopping an app never waits for one.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext
from werkzeug.wrappers import Response as AnyResponse

from libs.people.access import current_session, staff
from libs.web import shown_once
from services.oidc.flows import clients as flows
from services.oidc.flows.clients.desk import look_at, rotate_seen_secret, sign_in_address
from services.oidc.flows.clients.kinds import KINDS, create_client_of_kind
from services.oidc.flows.clients.registered import SECRET_METHODS
from services.oidc.flows.clients.search import STATES, search_clients
from services.oidc.flows.refusals.advice import advice_for, difference_in
from services.oidc.flows.resources import in_words, offered_scopes
from services.oidc.models import Client
from services.oidc.routes.client_form import in_groups

bp = Blueprint("clients", __name__, url_prefix="/admin/clients")

LISTED = 50
OVERLAPS_H = (24, 0, 24 * 7, 24 * 30)
"""How long the earlier secret may go on working; the first is what is usual."""
LIFETIMES_D = (0, 90, 180, 365)
"""How long a new secret works: until it is replaced, or so many days."""


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    text, state = request.args.get("q", "").strip(), request.args.get("state", "")
    state = state if state in STATES else ""
    after = _asked_after()
    page = search_clients(text=text, state=state or None, after=after, limit=LISTED)
    named = {name: value for name, value in (("q", text), ("state", state)) if value}
    goes_on = {"after": f"{page.after[0].isoformat()}~{page.after[1]}"} if page.after else {}
    return render_template(
        "clients.html",
        page=page,
        text=text,
        state=state,
        states=_states(),
        sites_of=_sites_of,
        named=named,
        is_first=after is None,
        is_admin=current_session().has_role("admin"),
        next_url=f"{request.path}?{urlencode({**named, **goes_on})}",
    )


def _asked_after() -> tuple[datetime, str] | None:
    """Where the list is to go on. What is no such place is as none, and shows the list's start."""
    moment, _, client_id = request.args.get("after", "").replace("\x00", "").partition("~")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)), client_id


def _sites_of(client: Client) -> list[str]:
    """Where its people return to, each site once; what is no web address by its scheme."""
    parts = [urlsplit(uri) for uri in client.redirect_uris]
    return list(dict.fromkeys(part.netloc or f"{part.scheme}:" for part in parts))


def _states() -> list[tuple[str, str]]:
    words = {
        "enabled": gettext("enabled"),
        "disabled": gettext("disabled"),
        "public": gettext("public"),
        "first_party": gettext("ours"),
        "dynamic": gettext("registered by themselves"),
    }
    return [("", gettext("Any")), *((state, words[state]) for state in STATES)]


@bp.get("/new")
@staff("admin", fresh=True)
def begin() -> ResponseReturnValue:
    usual = {"name": "", "redirect_uris": "", "kind": next(iter(KINDS)), "scopes": flows.DEFAULT_SCOPES}
    return _new_page(usual, errors={})


@bp.post("/new")
@staff("admin", fresh=True)
def create() -> ResponseReturnValue:
    """Register an app by little: its kind says the rest, which can be changed afterwards."""
    entered = {
        "name": request.form.get("name", ""),
        "kind": request.form.get("kind", ""),
        "redirect_uris": request.form.get("redirect_uris", ""),
        "scopes": request.form.getlist("scopes"),
    }
    try:
        made = create_client_of_kind(
            kind=str(entered["kind"]),
            name=str(entered["name"]),
            redirect_uris=str(entered["redirect_uris"]).split(),
            scopes=entered["scopes"],
        )
    except flows.InvalidClient as refused:
        return _new_page(entered, errors=refused.errors), refused.status
    flash(gettext("The app is registered."), "good")
    shown_once.keep(made.client.client_id, made.secret)
    return _back(made.client.client_id)


def _new_page(entered: Mapping[str, Any], *, errors: Mapping[str, Any]) -> str:
    return render_template(
        "client_new.html", entered=entered, errors=errors, kinds=KINDS, scope_words=offered_scopes()
    )


@bp.get("/<client_id>")
@staff("support")
def show(client_id: str) -> ResponseReturnValue:
    client, me = flows.get_client(client_id), current_session()
    overview = look_at(client)
    return render_template(
        "client.html",
        client=client,
        # Last of what may fail: it is there only once.
        new_secret=shown_once.take(client_id),
        overview=overview,
        setting_names=flows.BY_NAME,
        groups=in_groups(flows.settings_of(client)),
        wishes=in_words(client.scopes),
        has_secret=client.auth_method in SECRET_METHODS,
        overlaps=_overlaps(),
        lifetimes=_lifetimes(),
        advice_for=advice_for,
        difference_in=difference_in,
        sign_in_url=sign_in_address(client, login_hint=me.claims.get("email")),
        is_admin=me.has_role("admin"),
    )


def _overlaps() -> list[tuple[str, str]]:
    words = {
        24: gettext("a day"),
        0: gettext("not at all"),
        24 * 7: gettext("a week"),
        24 * 30: gettext("thirty days"),
    }
    return [(str(hours), words[hours]) for hours in OVERLAPS_H]


def _lifetimes() -> list[tuple[str, str]]:
    return [
        (
            str(days),
            ngettext("%(num)s day", "%(num)s days", days) if days else gettext("until it is replaced"),
        )
        for days in LIFETIMES_D
    ]


@bp.post("/<client_id>/rotate-secret")
@staff("admin", fresh=True)
def rotate(client_id: str) -> ResponseReturnValue:
    """Give the app a new secret, once for each press: the form names the secret that it saw."""
    overlap = timedelta(hours=_one_of(OVERLAPS_H, "overlap"))
    days = _one_of(LIFETIMES_D, "lifetime")
    lifetime = timedelta(days=days) if days else None
    try:
        secret = rotate_seen_secret(client_id, newest=_seen_secret(), overlap=overlap, lifetime=lifetime)
    except flows.ClientChanged:
        flash(gettext("Nothing was done: the app has got another secret meanwhile."), "bad")
        return _back(client_id)
    except flows.InvalidClient as refused:
        flash(" ".join(map(str, refused.errors.values())), "bad")
        return _back(client_id)
    shown_once.keep(client_id, secret)
    return _back(client_id)


def _one_of(offered: Sequence[int], name: str) -> int:
    """What was chosen of the numbers that the form offers; else the first, which is usual."""
    text = request.form.get(name, "")
    return int(text) if text in map(str, offered) else offered[0]


def _seen_secret() -> uuid.UUID | None:
    try:
        return uuid.UUID(request.form.get("newest", ""))
    except ValueError:
        return None


@bp.post("/<client_id>/enable")
@staff("admin", fresh=True)
def enable(client_id: str) -> ResponseReturnValue:
    try:
        flows.change_client(client_id, is_enabled=True)
    except flows.InvalidClient:
        flash(gettext("Its settings do not go together any more: change them first."), "bad")
        return redirect(url_for("client_settings.show", client_id=client_id), 303)
    flash(gettext("The app may sign people in again; it starts anew."), "good")
    return _back(client_id)


@bp.post("/<client_id>/disable")
@staff("admin")
def disable(client_id: str) -> ResponseReturnValue:
    """Refuse whatever the app asks for, and end what it was given."""
    flows.change_client(client_id, is_enabled=False)
    flash(
        gettext("The app is disabled: whatever it asks for is refused, and what it was given has ended."),
        "good",
    )
    return _back(client_id)


@bp.post("/<client_id>/delete")
@staff("admin", fresh=True)
def delete(client_id: str) -> ResponseReturnValue:
    """Remove the app and all that hangs on it; whoever does it types its name, so that it is no slip."""
    client = flows.get_client(client_id)
    if " ".join(request.form.get("name", "").split()) != " ".join(client.name.split()):
        flash(gettext("Nothing was deleted: that is not the name of this app."), "bad")
        return _back(client_id)
    flows.delete_client(client_id)
    flash(gettext("%(name)s is deleted.", name=client.name), "good")
    return redirect(url_for("clients.index"), 303)


def _back(client_id: str) -> AnyResponse:
    return redirect(url_for("clients.show", client_id=client_id), 303)
