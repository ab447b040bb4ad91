"""/api/v1/users/blocks: who may not sign in for a while."""

from typing import Any
from uuid import UUID

from libs.database import utcnow
from libs.people.access import bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint
from libs.web.client_address import client_address
from services.account.extensions import limiter
from services.account.flows import blocks
from services.account.flows.users import get_user
from services.account.schemas.blocks import BlockListSchema, BlockSchema, NewBlockSchema

bp = APIBlueprint(
    "blocks",
    __name__,
    limiter=limiter,
    description="Addresses, networks and mail domains from which nobody may sign in for a while, for staff.",
)


@bp.get("/api/v1/users/blocks")
@bearer("users:read", role="support")
@bp.response(200, BlockListSchema)
def find() -> Any:
    """List the blocks that hold now, newest first: the two hundred newest."""
    return {"items": blocks.list_blocks()}


@bp.post("/api/v1/users/blocks")
@bearer("users:write", role="admin")
@bp.arguments(NewBlockSchema)
@bp.response(201, BlockSchema)
def add(body: dict[str, Any]) -> Any:
    """Let nobody in a network, or with an address of a mail domain, sign in for a while.

    Open sessions stay. Nobody keeps themselves out.
    """
    caller = current_bearer().sub
    try:
        return blocks.add_block(
            network=body.get("network"),
            domain=body.get("domain"),
            life=body["expires_at"] - utcnow(),
            reason=body["reason"],
            own_ip=client_address() if caller else None,
            own_email=get_user(sub=caller).email if caller else None,
        )
    except blocks.BadBlock as refused:
        raise blocks.BadBlock(errors=NewBlockSchema.named(refused.errors, body)) from refused


@bp.delete("/api/v1/users/blocks/<uuid:block_id>")
@bearer("users:write", role="admin")
@bp.response(204)
@bp.problems(404)
def lift(block_id: UUID) -> Any:
    """Let them sign in again; a block that has ended already stays so."""
    blocks.lift_block(block_id=block_id)
