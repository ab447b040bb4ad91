"""The profile: what a person says about themselves, in the standard claims of OpenID Connect (Core §5.1)."""

from collections.abc import Collection, Mapping
from typing import Any

from flask_babel import lazy_gettext
from marshmallow import ValidationError

from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.users import BadUser, lock_user, note_change
from services.account.models import User
from services.account.schemas.profile import ProfileChanges, flat_errors

COLUMNS = ("name", "locale", "zoneinfo")
"""Kept in columns of their own, since we use them ourselves; the further ones only pass through."""


class ChangedMeanwhile(Problem):
    """The account is no longer in the state that the change was made for."""

    status, slug, title = 412, "changed-meanwhile", lazy_gettext("Somebody changed this meanwhile")


def change_profile(*, sub: str, changes: Mapping[str, Any], versions: Collection[int] | None = None) -> User:
    """Change what is named of the profile; None or nothing takes a claim away. Other names are not looked at.

    `versions` are the states that the change is meant for; None for any. The audit says what changed, not to what.
    Raises BadUser, UnknownUser, ChangedMeanwhile.
    """
    try:
        wanted = ProfileChanges().load(changes)
    except ValidationError as error:
        raise BadUser(errors=flat_errors(error.normalized_messages())) from None
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if versions is not None and user.version not in versions:
            raise ChangedMeanwhile
        changed = [name for name, value in wanted.items() if profile_of(user).get(name) != (value or None)]
        for name in changed:
            if name in COLUMNS:
                setattr(user, name, wanted[name])
        # A new object each time: a change inside JSON would not be noticed.
        further = {name: value for name, value in wanted.items() if name not in COLUMNS}
        user.profile = {name: value for name, value in {**user.profile, **further}.items() if value}
        if changed:
            note_change(user, "user.profile_changed", before={}, after={"changed": sorted(changed)})
    return user


def profile_of(user: User) -> dict[str, Any]:
    """Everything that the person may change, by the names of the claims; what is not given is missing."""
    columns = {name: getattr(user, name) for name in COLUMNS}
    return {name: value for name, value in {**user.profile, **columns}.items() if value}
