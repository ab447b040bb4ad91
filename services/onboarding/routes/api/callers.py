"""Who asks: what the endpoints find out before they enter a flow."""

from collections.abc import Collection, Mapping
from typing import Any

from flask_babel import lazy_gettext
from marshmallow import Schema, ValidationError

from libs.people.access import STEP_UP_LIFETIME
from libs.people.bearer import current_bearer
from libs.people.bearer.problems import InsufficientScope, StaleSignIn
from libs.web.api.shapes import InvalidInput
from services.onboarding.schemas.forms import first_errors

GIVES_ROLES = "users:write"
"""The scope by which a client gives roles to anybody; the scope of applications alone does not."""


def may_give(roles: Collection[str]) -> None:
    """Let only administrators who have just signed in give roles. Raises InsufficientScope, StaleSignIn."""
    caller = current_bearer()
    if not roles:
        return
    if caller.sub is None:
        if GIVES_ROLES not in caller.scopes:
            raise InsufficientScope(
                GIVES_ROLES, lazy_gettext("It lacks the scope %(scope)s.", scope=GIVES_ROLES)
            )
    elif not caller.has_role("admin"):
        raise InsufficientScope(
            "applications:write", lazy_gettext("It lacks the role %(role)s.", role="admin")
        )
    elif not caller.is_fresh(STEP_UP_LIFETIME):
        raise StaleSignIn(STEP_UP_LIFETIME)


def read_form(form: type[Schema], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a page's form makes of this: the same rules for a program. Raises InvalidInput."""
    try:
        found: dict[str, Any] = form().load(
            {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise InvalidInput(errors=first_errors(error)) from error
    return found
