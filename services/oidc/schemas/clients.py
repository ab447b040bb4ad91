"""Clients, as staff's programs see and change them: every member is made from a row of SETTINGS."""

from collections.abc import Callable, Mapping
from typing import Any

from flask_babel import gettext
from marshmallow import ValidationError, fields, pre_dump, validate, validates_schema

from libs.web.api import Input, Shape, said
from services.oidc.flows.clients import (
    SECRET_OVERLAP,
    SETTINGS,
    USUAL,
    ChangedClient,
    Setting,
    settings_of,
)
from services.oidc.flows.clients.search import MAX_SEARCH_LENGTH, STATES
from services.oidc.models import Client

LONGEST_OVERLAP_S = 90 * 86400
LONGEST_LIFETIME_S = 3650 * 86400


def _choice(setting: Setting) -> Any:
    return validate.OneOf((*setting.choices, None) if setting.is_optional else setting.choices)


KINDS: Mapping[str, Callable[..., fields.Field[Any]]] = {
    "text": lambda setting, **more: fields.String(**more),
    "uri": lambda setting, **more: fields.String(**more),
    "flag": lambda setting, **more: fields.Boolean(truthy={True}, falsy={False}, **more),
    "number": lambda setting, **more: fields.Integer(strict=True, **more),
    "words": lambda setting, **more: fields.List(fields.String(), **more),
    "uris": lambda setting, **more: fields.List(fields.String(), **more),
    "choice": lambda setting, **more: fields.String(validate=_choice(setting), **more),
    "choices": lambda setting, **more: fields.List(
        fields.String(validate=validate.OneOf(setting.choices)), **more
    ),
    "json": lambda setting, **more: fields.Dict(keys=fields.String(), **more),
}
"""How a setting of each kind is read and written."""


def _members(*, required: tuple[str, ...] = ()) -> dict[str, fields.Field[Any]]:
    """A member per setting."""
    return {
        setting.name: KINDS[setting.kind](
            setting,
            required=setting.name in required,
            allow_none=setting.is_optional,
            **said(_about(setting)),
        )
        for setting in SETTINGS
    }


def _about(setting: Setting) -> str:
    """What a setting is, in the document's language."""
    others = []
    if setting.metadata is not None and setting.metadata != setting.name:
        others.append(f"`{setting.metadata}` in client metadata")
    if setting.name in USUAL and USUAL[setting.name] not in ([], {}):
        others.append(f"usually {_written(USUAL[setting.name])}")
    return f"{setting.words}; {', '.join(others)}" if others else str(setting.words)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) if isinstance(value, list) else str(value)


NewClientSchema = Input.from_dict(_members(required=("name",)), name="NewClient")
NewClientSchema.__doc__ = "A client: what is not said is as usual."
_SomeSettings = Input.from_dict(_members(), name="SomeSettings")


class ClientChangesSchema(_SomeSettings):  # type: ignore[valid-type, misc]  # made of SETTINGS
    """What changes of a client: at least one member; null takes away what may be absent, lists are replaced whole."""

    @validates_schema
    def _names_something(self, data: dict[str, Any], **kwargs: Any) -> None:
        if not data:
            raise ValidationError(gettext("Name at least one member."))


_AllSettings = Shape.from_dict(
    _members(required=tuple(setting.name for setting in SETTINGS)), name="AllSettings"
)


def _client_values(client: Client) -> dict[str, Any]:
    return {
        **settings_of(client),
        "client_id": client.client_id,
        "is_dynamic": client.registration_token_digest is not None,
        "created_at": client.created_at,
        "updated_at": client.updated_at,
    }


class ClientSchema(_AllSettings):  # type: ignore[valid-type, misc]  # made of SETTINGS
    """An app that signs people in, or calls APIs. All of it changes its ETag."""

    client_id = fields.String(required=True)
    is_dynamic = fields.Boolean(required=True, **said("Whether it registered itself (RFC 7591)"))
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)

    @pre_dump
    def _read(self, client: Any, **kwargs: Any) -> dict[str, Any]:
        return _client_values(client)


class ChangedClientSchema(ClientSchema):
    """A client as it is after a change and, this once, the secret that the change made for it."""

    client_secret = fields.String(**said("Only where the change made one; never shown again"))

    @pre_dump
    def _read(self, changed: ChangedClient, **kwargs: Any) -> dict[str, Any]:  # instead of a Client
        secret = {} if changed.secret is None else {"client_secret": changed.secret}
        return {**_client_values(changed.client), **secret}


class CreatedClientSchema(Shape):
    """A new client and, this once, its secret."""

    client = fields.Nested(ClientSchema, required=True)
    client_secret = fields.String(
        required=True, allow_none=True, **said("Never shown again; null for a client that has none")
    )


class SecretSchema(Shape):
    """A secret of a client, by its age alone."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True, allow_none=True)
    last_used_at = fields.AwareDateTime(required=True, allow_none=True, **said("To the minute"))


class SecretListSchema(Shape):
    """The secrets that let a client in, newest first."""

    items = fields.List(fields.Nested(SecretSchema), required=True)


class NewSecretSchema(Shape):
    """A new secret, this once."""

    client_secret = fields.String(required=True)


class RotationSchema(Input):
    """How long the secret that was the newest goes on working, and how long the new one will."""

    overlap_seconds = fields.Integer(
        strict=True,
        load_default=int(SECRET_OVERLAP.total_seconds()),
        validate=validate.Range(0, LONGEST_OVERLAP_S),
        **said("Of the one that was the newest; 0 ends it now; any older secret ends in either case"),
    )
    lifetime_seconds = fields.Integer(
        strict=True,
        allow_none=True,
        load_default=None,
        validate=validate.Range(1, LONGEST_LIFETIME_S),
        **said("Of the new one; null: until it is replaced"),
    )


def client_filters() -> dict[str, fields.Field[Any]]:
    """What a list of clients may be narrowed by."""
    return {
        "search": fields.String(
            load_default="",
            validate=validate.Length(max=MAX_SEARCH_LENGTH),
            **said("Only with this in the name or in a redirect URI's host, or as the id"),
        ),
        "state": fields.String(validate=validate.OneOf(list(STATES))),
    }
