"""Who asks, and whose account it is about: what the endpoints find out before they enter a flow."""

from typing import Any
from uuid import UUID

from flask import request

from libs.lists import Page
from libs.people.bearer import current_bearer, current_person
from libs.people.bearer.problems import InvalidToken
from libs.web.api import part, tagged
from libs.web.client_address import client_address
from services.account.flows import users
from services.account.flows.staff import get_for_change, get_other_for_change
from services.account.flows.visitor import Visitor
from services.account.models import User

NO_SESSION = str(UUID(int=0))
"""What a token of `offline_access` lives by: no session is spared for it."""


def me() -> User:
    """Whoever bears the token. Raises UnknownUser, and InvalidToken for somebody who may not sign in any more."""
    user = users.get_user(sub=current_person())
    if not user.is_active:
        raise InvalidToken
    return user


def own_sid() -> str:
    """The session that the token lives by."""
    return current_bearer().sid or NO_SESSION


def visitor() -> Visitor:
    """The app at the other end: it has no cookies, and no device of the person's."""
    return Visitor(ip=client_address(), user_agent=request.headers.get("User-Agent", ""))


def person(sub: UUID) -> User:
    """Whom the caller may act on; a client by itself, which an administrator has let in, on everybody.

    Raises UnknownUser, NotAllowed.
    """
    caller = current_bearer()
    if caller.sub is None:
        return users.get_user(sub=str(sub))
    return get_for_change(sub=str(sub), actor=caller.sub, roles=caller.roles)


def other(sub: UUID) -> User:
    """The same for what nobody does to themselves."""
    caller = current_bearer()
    if caller.sub is None:
        return person(sub)
    return get_other_for_change(sub=str(sub), actor=caller.sub, roles=caller.roles)


def whole(sub: UUID) -> Any:
    """The answer that shows a person as they are now."""
    user = users.get_user(sub=str(sub))
    return tagged(user, user.version)


def page_of_rows(found: Page[Any]) -> Any:
    """The answer for a long list, as flows/lists.py reads it."""
    return part(found.rows, goes_on=[found.before] if found.before is not None else None)
