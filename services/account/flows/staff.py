"""What staff may do to whom, where a role alone does not say it. Pages and APIs ask here; commands are above it."""

from collections.abc import Collection

from flask_babel import gettext

from libs.people.access import NotAllowed
from services.account.flows.users import get_user
from services.account.models import User


def get_for_change(*, sub: str, actor: str, roles: Collection[str]) -> User:
    """The person whom somebody with these roles is about to act on.

    Support looks at everybody and acts on nobody who administers: else it could take over the account of whoever is
    above it. Raises UnknownUser, NotAllowed.
    """
    user = get_user(sub=sub)
    if "admin" in user.roles and "admin" not in roles and user.sub != actor:
        raise NotAllowed(gettext("Only administrators may change the account of an administrator."))
    return user


def get_other_for_change(*, sub: str, actor: str, roles: Collection[str]) -> User:
    """The same for what nobody does to themselves: it would lock them out, or weaken their own account unseen.

    Raises UnknownUser, NotAllowed.
    """
    if sub == actor:
        raise NotAllowed(gettext("You cannot do this to your own account: ask another administrator."))
    return get_for_change(sub=sub, actor=actor, roles=roles)
