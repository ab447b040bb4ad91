"""Invitations, as reviewers' programs see and make them."""

from datetime import timedelta
from typing import Any

from marshmallow import fields, pre_dump, validate

from libs.web.api import Input, Shape, said
from libs.web.languages import DEFAULT, LANGUAGES
from services.onboarding.flows.invitations import keeping
from services.onboarding.flows.invitations.uses import state_of
from services.onboarding.models import ROLES, Invitation
from services.onboarding.schemas.forms import LONGEST_EMAIL

LONGEST_LIFETIME_S = int(keeping.LONGEST_LIFETIME.total_seconds())


def _lifetime(words: str) -> fields.Field[Any]:
    return fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, LONGEST_LIFETIME_S),
        **said(words),
    )


def lifetime_of(body: dict[str, Any]) -> timedelta | None:
    """The length of time that a body names; None for none."""
    seconds = body["lifetime_seconds"]
    return timedelta(seconds=seconds) if seconds is not None else None


class InvitationSchema(Shape):
    """A way in that skips the review; never its link. All of it changes its ETag."""

    id = fields.UUID(required=True)
    state = fields.String(required=True, validate=validate.OneOf(keeping.STATES))
    email = fields.String(required=True, allow_none=True, **said("Whom it was mailed to; null for a link"))
    uses = fields.Integer(required=True)
    most_uses = fields.Integer(required=True)
    roles = fields.List(fields.String(validate=validate.OneOf(ROLES)), required=True)
    locale = fields.String(required=True, **said("The language of its mail, BCP 47"))
    note = fields.String(required=True, **said("For staff"))
    created_at = fields.AwareDateTime(required=True)
    created_by = fields.String(required=True, **said("Such as user:SUB, client:ID or command:LOGIN"))
    expires_at = fields.AwareDateTime(required=True)
    withdrawn_at = fields.AwareDateTime(required=True, allow_none=True)
    mailed_at = fields.AwareDateTime(required=True, allow_none=True)
    mail_trouble = fields.String(
        required=True,
        allow_none=True,
        **said("How its newest mail ended that did not arrive: failed, suppressed, too_late"),
    )

    @pre_dump
    def _read(self, invitation: Invitation, **kwargs: Any) -> dict[str, Any]:
        values = {name: getattr(invitation, name, None) for name in self.fields}
        return {**values, "state": state_of(invitation), "email": invitation.email or None}


class MadeInvitationSchema(Shape):
    """An invitation and, this once, its link."""

    invitation = fields.Nested(InvitationSchema, required=True)
    link = fields.String(
        required=True,
        allow_none=True,
        **said("Never shown again, not even to a repeated request; null where it was mailed"),
    )


class NewInvitationSchema(Input):
    """Whom to invite: an address by mail, or as many people as a link is for."""

    email = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, LONGEST_EMAIL),
        **said("Mailed there, for one person; without it there is a link to hand out"),
    )
    most_uses = fields.Integer(strict=True, load_default=1, validate=validate.Range(1, keeping.MOST_USES))
    lifetime_seconds = _lifetime("As long as usual, where nothing is said")
    roles = fields.List(
        fields.String(validate=validate.OneOf(ROLES)),
        load_default=list,
        **said(
            "Given by an administrator with a fresh sign-in alone; by a client with the scope users:write"
        ),
    )
    locale = fields.String(load_default=DEFAULT, validate=validate.OneOf(list(LANGUAGES)))
    note = fields.String(
        load_default="", validate=validate.Length(max=keeping.LONGEST_NOTE), **said("For staff")
    )


class ResendSchema(Input):
    """How an invitation is sent again."""

    lifetime_seconds = _lifetime(
        "From now on; where nothing is said, its end stays, and one that is over gets as usual"
    )


def invitation_filters() -> dict[str, fields.Field[Any]]:
    """What a list of invitations may be narrowed by."""
    return {
        "state": fields.String(load_default="all", validate=validate.OneOf(keeping.FILTERS)),
        "search": fields.String(
            load_default="",
            validate=validate.Length(max=LONGEST_EMAIL),
            **said("Only where address or note holds this"),
        ),
    }
