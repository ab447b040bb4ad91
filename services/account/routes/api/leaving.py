"""/api/v1/me/data, erasure: a person takes their data along, or leaves."""

from typing import Any

from libs.people.access import bearer
from libs.people.bearer import current_person
from libs.web.api import APIBlueprint
from services.account.extensions import limiter
from services.account.flows.data_download import ask_for_data, find_request
from services.account.flows.erasure import ask_to_leave, keep_account
from services.account.routes.api.callers import me, visitor
from services.account.routes.data_download import ASKING
from services.account.routes.erasure import ERASING
from services.account.schemas.leaving import AddressOfAccountSchema, DataRequestSchema, ErasureSchema

bp = APIBlueprint(
    "leaving", __name__, limiter=limiter, description="All that we hold about the person, and leaving."
)


@bp.get("/api/v1/me/data")
@bearer("me")
@bp.response(200, DataRequestSchema)
@bp.problems(404)
def show_request() -> Any:
    """Show how far the collection of the person's data is."""
    return DataRequestSchema.of(find_request(sub=me().sub))


@bp.post("/api/v1/me/data")
@limiter.limit("data_request", ASKING, by=current_person)
@bearer("me", fresh=True)
@bp.response(202, DataRequestSchema)
@bp.problems(404, 409)
def ask() -> Any:
    """Collect all that every service holds about the person.

    A mail brings the link by which they take it, after a fresh sign-in.
    """
    sub = me().sub
    ask_for_data(sub=sub)
    return DataRequestSchema.of(find_request(sub=sub))


@bp.get("/api/v1/me/erasure")
@bearer("me")
@bp.response(200, ErasureSchema)
@bp.problems(404)
def show_erasure() -> Any:
    """Show whether the account is to be erased, and when."""
    return {"erase_at": me().erase_at}


@bp.post("/api/v1/me/erasure")
@limiter.limit("erase", ERASING, by=current_person)
@bearer("me", fresh=True)
@bp.arguments(AddressOfAccountSchema)
@bp.response(200, ErasureSchema)
@bp.problems(404, 409)
def erase(body: dict[str, Any]) -> Any:
    """Have the account erased after the time of grace.

    Every session and token ends at once, this one too. Whoever signs in meanwhile may keep the account.
    """
    return {"erase_at": ask_to_leave(sub=me().sub, typed_email=body["email"], visitor=visitor())}


@bp.delete("/api/v1/me/erasure")
@bearer("me")
@bp.response(204)
@bp.problems(404)
def keep() -> Any:
    """Keep the account that was about to be erased."""
    keep_account(sub=me().sub, visitor=visitor())
