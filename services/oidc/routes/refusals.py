"""/admin/clients/refusals: staff are told the number of a request, and find why it was refused."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from libs.people.access import staff
from services.oidc.flows.refusals import explain
from services.oidc.flows.refusals.advice import advice_for, difference_in

bp = Blueprint("refusals", __name__)


@bp.get("/admin/clients/refusals")
@staff("support")
def find() -> ResponseReturnValue:
    request_id = request.args.get("request_id", "").strip()
    return render_template(
        "refusals.html",
        request_id=request_id,
        refusals=explain(request_id),
        advice_for=advice_for,
        difference_in=difference_in,
    )
