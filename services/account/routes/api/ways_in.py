"""/api/v1/me/passkeys, second-factor, links: how a person signs in. New ways are made in a browser alone."""

from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint
from services.account.extensions import limiter
from services.account.flows import linking, passkeys
from services.account.flows.second_factor import list_factors
from services.account.routes.api.callers import me, own_sid, visitor
from services.account.schemas.ways_in import (
    LinkListSchema,
    PasskeyListSchema,
    PasskeyNameSchema,
    PasskeySchema,
    SecondFactorSchema,
)

bp = APIBlueprint(
    "ways_in",
    __name__,
    limiter=limiter,
    description="How the person signs in. Passkeys, apps and accounts elsewhere are added on our pages alone.",
)


@bp.get("/api/v1/me/passkeys")
@bearer("me")
@bp.response(200, PasskeyListSchema)
@bp.problems(404)
def list_passkeys() -> Any:
    """List the person's passkeys, oldest first."""
    return {"items": passkeys.list_passkeys(sub=me().sub)}


@bp.patch("/api/v1/me/passkeys/<uuid:passkey_id>")
@bearer("me")
@bp.arguments(PasskeyNameSchema)
@bp.response(200, PasskeySchema)
@bp.problems(404)
def rename_passkey(body: dict[str, Any], passkey_id: UUID) -> Any:
    """Call a passkey something else."""
    sub = me().sub
    passkeys.rename_passkey(sub=sub, passkey_id=passkey_id, name=body["name"])
    return passkeys.get_passkey(sub=sub, passkey_id=passkey_id)


@bp.delete("/api/v1/me/passkeys/<uuid:passkey_id>")
@bearer("me", fresh=True)
@bp.response(204)
@bp.problems(404, 409)
def remove_passkey(passkey_id: UUID) -> Any:
    """Remove a passkey, and tell the person by mail.

    The last way to sign in stays.
    """
    passkeys.remove_passkey(sub=me().sub, passkey_id=passkey_id, visitor=visitor())


@bp.get("/api/v1/me/second-factor")
@bearer("me")
@bp.response(200, SecondFactorSchema)
@bp.problems(404)
def show_second_factor() -> Any:
    """Show what is asked for after a password."""
    return list_factors(sub=me().sub)


@bp.get("/api/v1/me/links")
@bearer("me")
@bp.response(200, LinkListSchema)
@bp.problems(404)
def list_links() -> Any:
    """List the accounts elsewhere that sign the person in, oldest first."""
    return {"items": linking.list_links(sub=me().sub)}


@bp.delete("/api/v1/me/links/<provider>")
@bearer("me", fresh=True)
@bp.response(204)
@bp.problems(404, 409)
def unlink(provider: str) -> Any:
    """Let the account elsewhere sign the person in no more.

    Sessions that it began end, but the token's own. The last way to sign in stays.
    """
    linking.unlink(sub=me().sub, provider=provider, keep_sid=own_sid(), visitor=visitor())
