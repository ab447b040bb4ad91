"""/admin/policies: who gets in how, tried with an address, and changed."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext
from marshmallow import ValidationError

from libs.people.access import staff
from libs.web.client_address import parse_address
from services.onboarding.flows import people
from services.onboarding.flows import policies as flow
from services.onboarding.models import Policy
from services.onboarding.schemas.forms import AddressForm

bp = Blueprint("policies", __name__, url_prefix="/admin/policies")

MODES = {
    "open": lazy_gettext("Open: whoever confirms their address"),
    "review": lazy_gettext("Review: a reviewer decides"),
    "invitation": lazy_gettext("Invitation: only who is invited"),
    "closed": lazy_gettext("Closed: nobody"),
}
OUTCOMES = {
    flow.APPROVED: lazy_gettext("Approved once the address is confirmed, without a review"),
    flow.REVIEW: lazy_gettext("A reviewer decides"),
    flow.REFUSED: lazy_gettext("Refused"),
}
LISTS = ("trusted_domains", "refused_domains")
NUMBERS = ("most_per_address", "most_per_network")


@bp.get("")
@staff("admin")
def show() -> ResponseReturnValue:
    """The rules; with `email` (and `ip`) what becomes of that address."""
    policy = flow.get_policy()
    return _page(policy, _written(policy))


@bp.post("")
@staff("admin", fresh=True)
def change() -> ResponseReturnValue:
    """Save, if it is still what the form was made from; what was entered stays in either case."""
    entered = {name: request.form.get(name, "") for name in ("mode", *LISTS, *NUMBERS)}
    version = request.form.get("version", "")
    try:
        flow.change(
            expected=int(version) if version.isdecimal() and len(version) < 10 else 0,
            mode=entered["mode"],
            trusted_domains=entered["trusted_domains"].split(),
            refused_domains=entered["refused_domains"].split(),
            most_per_address=_number(entered["most_per_address"]),
            most_per_network=_number(entered["most_per_network"]),
        )
    except flow.PolicyChanged as refused:
        # A second press saves over the other change, knowingly.
        policy = flow.get_policy()
        return _page(policy, entered, told=refused, saved=_written(policy)), refused.status
    except flow.InvalidPolicy as refused:
        policy = flow.get_policy()
        return _page(policy, entered, told=refused, version=version), refused.status
    flash(gettext("Saved. It holds for applications from now on."), "good")
    return redirect(url_for("policies.show"), 303)


def _number(text: str) -> int:
    """0, which is refused by name, for what is no number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _written(policy: Policy) -> dict[str, str]:
    return {
        "mode": policy.mode,
        **{name: "\n".join(getattr(policy, name)) for name in LISTS},
        **{name: str(getattr(policy, name)) for name in NUMBERS},
    }


def _page(
    policy: Policy,
    entered: dict[str, str],
    *,
    told: Any = None,
    saved: dict[str, str] | None = None,
    version: str = "",
) -> str:
    email, ip = request.args.get("email", "").strip(), request.args.get("ip", "").strip()
    findings, wrong = _try(email, ip) if email else ([], {})
    names = people.names_of([policy.changed_by])
    return render_template(
        "policies/policies.html",
        policy=policy,
        entered=entered,
        version=version or policy.version,
        told=told,
        errors=told.errors if told else {},
        saved=saved,
        changed_by=names.get(policy.changed_by, policy.changed_by),
        modes=list(MODES.items()),
        outcomes=OUTCOMES,
        rules=flow.settings_of_rules(),
        tried={"email": email[:254], "ip": ip[:100]},
        findings=findings,
        decided=next((finding for finding in findings if finding.decides), None),
        wrong=wrong,
    )


def _try(email: str, ip: str) -> tuple[list[flow.Finding], dict[str, str]]:
    """What the rules say of an address, or what is wrong with what was typed."""
    address = parse_address(ip) if ip else None
    try:
        email = AddressForm().load({"email": email})["email"]
    except ValidationError as error:
        return [], {"email": str(error.normalized_messages()["email"][0])}
    if ip and address is None:
        return [], {"ip": gettext("Enter an IP address such as 192.0.2.1.")}
    return flow.explain(email=email, network=flow.network_of(address) if address else None), {}
