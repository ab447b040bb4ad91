"""How people sign in, without any secret of it."""

from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_dump, validate

from libs.web.api import Input, Shape, said
from services.account.flows.overview import Overview
from services.account.flows.passkeys.keeping import MAX_NAME_LENGTH
from services.account.flows.second_factor import Factors


class PasskeySchema(Shape):
    """A passkey."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    is_synced = fields.Boolean(required=True, **said("Whether software copies it to other devices"))
    created_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True)


class PasskeyListSchema(Shape):
    """A person's passkeys."""

    items = fields.List(fields.Nested(PasskeySchema), required=True)


def _is_seen(name: str) -> None:
    if not any(sign.isprintable() and not sign.isspace() for sign in name):
        raise ValidationError(gettext("Write a name that can be read."))


class PasskeyNameSchema(Input):
    """What a passkey is called."""

    name = fields.String(required=True, validate=[validate.Length(1, MAX_NAME_LENGTH), _is_seen])


class LinkSchema(Shape):
    """An account elsewhere that signs the person in."""

    provider = fields.String(required=True, **said("Such as github"))
    name = fields.String(required=True, **said("What the provider calls the account"))
    created_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True)


class LinkListSchema(Shape):
    """Accounts elsewhere."""

    items = fields.List(fields.Nested(LinkSchema), required=True)


class AuthenticatorAppSchema(Shape):
    """An authenticator app (RFC 6238) that is set up."""

    confirmed_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True)


class WayBackSchema(Shape):
    """The way back for whoever lost every second factor: a wait, then a mailed link."""

    available_at = fields.AwareDateTime(required=True)
    mailed_at = fields.AwareDateTime(required=True, allow_none=True)


class SecondFactorSchema(Shape):
    """What is asked for after a password."""

    authenticator_app = fields.Nested(AuthenticatorAppSchema, required=True, allow_none=True)
    has_passkey = fields.Boolean(required=True)
    recovery_codes_left = fields.Integer(required=True)
    way_back = fields.Nested(WayBackSchema, required=True, allow_none=True)

    @pre_dump
    def _read(self, factors: Factors, **kwargs: Any) -> dict[str, Any]:
        return {
            "authenticator_app": factors.totp,
            "has_passkey": factors.has_passkey,
            "recovery_codes_left": factors.codes_left,
            "way_back": factors.reset,
        }


class WaysInSchema(Shape):
    """How a person can sign in: the twenty newest of each kind."""

    has_password = fields.Boolean(required=True, **said("Whether one opens the account"))
    passkeys = fields.List(fields.Nested(PasskeySchema), required=True)
    links = fields.List(fields.Nested(LinkSchema), required=True)
    authenticator_app = fields.Nested(AuthenticatorAppSchema, required=True, allow_none=True)
    recovery_codes_left = fields.Integer(required=True)
    known_devices = fields.Integer(required=True, **said("Browsers in which the person has signed in before"))

    @pre_dump
    def _read(self, seen: Overview, **kwargs: Any) -> dict[str, Any]:
        same = ("has_password", "passkeys", "links", "recovery_codes_left")
        return {
            **{name: getattr(seen, name) for name in same},
            "authenticator_app": seen.totp,
            "known_devices": len(seen.devices),
        }


class RemovedFactorsSchema(Shape):
    """The second factors that a person had."""

    authenticator_app = fields.Boolean(required=True, attribute="totp")
    recovery_codes = fields.Integer(required=True)
    passkeys = fields.Integer(required=True)
    kept_passkeys = fields.Integer(
        required=True, **said("Passkeys that stay: nothing else signs the person in")
    )
