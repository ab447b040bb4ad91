"""/api/v1/users/rules: what administrators decide for everybody."""

from typing import Any

from libs.people.access import bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint
from services.account.extensions import limiter
from services.account.flows.staff_rule import is_second_factor_required, require_second_factor_of_staff
from services.account.schemas.staff_rule import StaffRuleSchema, WantedRuleSchema

bp = APIBlueprint("rules", __name__, limiter=limiter, description="What administrators decide for everybody.")

PATH = "/api/v1/users/rules/second-factor-for-staff"


@bp.get(PATH)
@bearer("users:read", role="admin")
@bp.response(200, StaffRuleSchema)
def show() -> Any:
    """Show whether staff need a second factor."""
    return {"required": is_second_factor_required()}


@bp.put(PATH)
@bearer("users:write", role="admin", fresh=True)
@bp.arguments(WantedRuleSchema)
@bp.response(200, StaffRuleSchema)
@bp.problems(409)
def change(body: dict[str, Any]) -> Any:
    """Decide whether staff need a second factor: without one, a sign-in carries none of their roles.

    Nobody makes the rule who would lose their own roles by it.
    """
    require_second_factor_of_staff(required=body["required"], by=current_bearer().sub)
    return body
