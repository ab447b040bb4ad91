"""/admin/clients/resources: the APIs of others that access tokens may be addressed to."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.people.access import current_session, staff
from libs.web.problems import Problem
from services.oidc.flows.resources import changing as flows
from services.oidc.models import Resource
from services.oidc.routes.form_version import seen_version, version_to_show

bp = Blueprint("resources", __name__, url_prefix="/admin/clients/resources")

FIELDS = ("identifier", "name", "scopes", "client_id")


@bp.get("")
@staff("support")
def index() -> ResponseReturnValue:
    is_admin = current_session().has_role("admin")
    return render_template("resources.html", resources=flows.list_resources(), is_admin=is_admin)


@bp.get("/new")
@staff("admin", fresh=True)
def begin() -> ResponseReturnValue:
    return _page(None, entered=dict.fromkeys(FIELDS, ""))


@bp.post("/new")
@staff("admin", fresh=True)
def create() -> ResponseReturnValue:
    entered = _entered()
    try:
        flows.create_resource(
            identifier=entered["identifier"],
            name=entered["name"],
            scopes=_scopes(entered["scopes"]),
            client_id=entered["client_id"],
        )
    except flows.InvalidResource as refused:
        return _page(None, entered=entered, refused=refused), refused.status
    flash(gettext("The resource is registered: apps may now be allowed its scopes."), "good")
    return redirect(url_for("resources.index"), 303)


@bp.get("/<uuid:resource_id>")
@staff("support")
def show(resource_id: UUID) -> ResponseReturnValue:
    resource = flows.get_resource(resource_id)
    return _page(resource, entered=_written(resource))


@bp.post("/<uuid:resource_id>")
@staff("admin", fresh=True)
def change(resource_id: UUID) -> ResponseReturnValue:
    """Save, if it is still what the form was made from; what was entered stays in either case."""
    entered = _entered()
    changes = {**entered, "scopes": _scopes(entered["scopes"])}
    del changes["identifier"]
    try:
        flows.update_resource(resource_id, expected=seen_version(), **changes)
    except (flows.InvalidResource, flows.ResourceChanged, flows.ResourceInUse) as refused:
        return _page(flows.get_resource(resource_id), entered=entered, refused=refused), refused.status
    flash(gettext("Saved."), "good")
    return redirect(url_for("resources.index"), 303)


@bp.post("/<uuid:resource_id>/delete")
@staff("admin", fresh=True)
def delete(resource_id: UUID) -> ResponseReturnValue:
    try:
        flows.delete_resource(resource_id)
    except flows.ResourceInUse as refused:
        resource = flows.get_resource(resource_id)
        return _page(resource, entered=_written(resource), refused=refused), refused.status
    flash(gettext("The resource is deleted."), "good")
    return redirect(url_for("resources.index"), 303)


def _page(resource: Resource | None, *, entered: Mapping[str, str], refused: Problem | None = None) -> str:
    is_changed = isinstance(refused, flows.ResourceChanged)
    return render_template(
        "resource.html",
        resource=resource,
        entered=entered,
        refused=refused,
        errors=refused.errors if refused else {},
        version=version_to_show(resource, is_changed=is_changed) if resource is not None else None,
        saved=_written(resource) if resource is not None and is_changed else None,
        is_admin=current_session().has_role("admin"),
    )


def _entered() -> dict[str, str]:
    return {name: request.form.get(name, "") for name in FIELDS}


def _written(resource: Resource) -> dict[str, str]:
    values: dict[str, Any] = flows.resource_values(resource)
    lines = [f"{scope} {words}" for scope, words in values["scopes"].items()]
    return {**values, "client_id": values["client_id"] or "", "scopes": "\n".join(lines)}


def _scopes(text: str) -> dict[str, str]:
    """A scope a line, and after a blank what it means."""
    found = {}
    for line in text.splitlines():
        scope, _, words = line.strip().partition(" ")
        if scope:
            found[scope] = words.strip()
    return found
