"""What account's rows say of an access token while Redis, which knows what was revoked, is away."""

import sqlalchemy as sa

from libs.people.bearer import Bearer
from services.account.extensions import db
from services.account.flows.copies import is_live, shared_session
from services.account.models import SignInSession, User


def still_holds(bearer: Bearer) -> bool | None:
    """Whether the session that the token lives by does, with its person active and its roles still theirs.

    None where the rows cannot tell: a token of `offline_access` is ended by denials alone.
    """
    if bearer.sid is None:
        return None
    with db.single_statements() as session:
        found = session.execute(
            sa.select(SignInSession, User)
            .join(User, User.id == SignInSession.user_id)
            .where(
                SignInSession.id == bearer.sid,
                User.sub == bearer.sub,
                User.status == "active",
                is_live(),
            )
        ).one_or_none()
    return found is not None and set(bearer.roles) <= set(shared_session(*found).roles)
