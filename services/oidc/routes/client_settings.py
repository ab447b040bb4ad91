"""/admin/clients/ID/settings: every setting of a client in one form; what was entered is never lost."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import staff
from libs.web import shown_once
from libs.web.problems import Problem
from services.oidc.flows.clients import ClientChanged, InvalidClient, change_client, get_client, settings_of
from services.oidc.models import Client
from services.oidc.routes.client_form import as_entered, groups, read
from services.oidc.routes.form_version import seen_version, version_to_show

bp = Blueprint("client_settings", __name__)

PAGE = "/admin/clients/<client_id>/settings"


@bp.get(PAGE)
@staff("admin", fresh=True)
def show(client_id: str) -> ResponseReturnValue:
    client = get_client(client_id)
    return _page(client, entered=as_entered(settings_of(client)))


@bp.post(PAGE)
@staff("admin", fresh=True)
def change(client_id: str) -> ResponseReturnValue:
    """Save, if the client is still what the form was made from; else say what differs, and keep what was entered."""
    entered, values, errors = read(request.form)
    if errors:
        return _refused(client_id, InvalidClient(errors=errors), entered)
    try:
        changed = change_client(client_id, expected=seen_version(), **values)
    except (InvalidClient, ClientChanged) as refused:
        return _refused(client_id, refused, entered)
    flash(gettext("Saved. Every process knows within a second."), "good")
    shown_once.keep(client_id, changed.secret)
    return redirect(url_for("clients.show", client_id=client_id), 303)


def _refused(client_id: str, refused: Problem, entered: Mapping[str, Any]) -> ResponseReturnValue:
    client = get_client(client_id)
    return _page(client, entered=entered, refused=refused), refused.status


def _page(client: Client, *, entered: Mapping[str, Any], refused: Problem | None = None) -> str:
    known = as_entered(settings_of(client))
    is_changed = isinstance(refused, ClientChanged)
    return render_template(
        "client_settings.html",
        client=client,
        groups=groups({**known, **entered}, refused.errors if refused else {}),
        refused=refused,
        version=version_to_show(client, is_changed=is_changed),
        others=_differences(known, entered) if is_changed else [],
    )


def _differences(known: Mapping[str, Any], entered: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is saved by now, where it is not what was entered."""
    return [
        (name, known[name])
        for name in known
        if name in entered and _same(known[name]) != _same(entered[name])
    ]


def _same(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value
