"""Changing resources: staff register the APIs of others, with the scopes that mean something there (RFC 8707)."""

import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session

from libs.database import uuid7
from libs.service import parts_of
from libs.settings import is_loopback
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.flows.resources import forget
from services.oidc.models import Client, Resource
from services.oidc.scopes import SCOPES

RESOURCES_LOCK = 0x01DC_8707
"""The advisory lock under which resources change, so that no two take one scope."""
MAX_IDENTIFIER_LENGTH = 500
MAX_SCOPE_LENGTH = 100
MAX_WORDS_LENGTH = 200
MOST_SCOPES = 50
SCOPE = re.compile(rf"[\x21\x23-\x5b\x5d-\x7e]{{1,{MAX_SCOPE_LENGTH}}}\Z")
"""RFC 6749 §3.3."""


class UnknownResource(Problem):
    """No resource has this id."""

    status, slug, title = 404, "unknown-resource", lazy_gettext("There is no such resource")


class InvalidResource(Problem):
    """A resource cannot be so; `errors` says what, by field."""

    slug, title = "invalid-resource", lazy_gettext("This resource cannot be registered so")


class ResourceChanged(Problem):
    """Somebody changed the resource since it was looked at."""

    status, slug, title = 412, "resource-changed", lazy_gettext("Somebody changed this resource meanwhile")


class ResourceInUse(Problem):
    """Clients may still ask for its scopes: taken from them first, a token never means less than it says."""

    status, slug, title = (
        409,
        "resource-in-use",
        lazy_gettext("Apps may still ask for scopes of this resource"),
    )


def list_resources() -> list[Resource]:
    """Those that staff registered, by name."""
    with db.single_statements() as session:
        order = (sa.func.lower(Resource.name), Resource.identifier)
        return list(session.scalars(sa.select(Resource).order_by(*order)))


def get_resource(resource_id: uuid.UUID) -> Resource:
    """Raises UnknownResource."""
    with db.single_statements() as session:
        return _known(session.get(Resource, resource_id))


def resource_called(identifier: str) -> Resource:
    """The resource of this identifier, for whoever knows it by that. Raises UnknownResource."""
    query = sa.select(Resource).where(Resource.identifier == identifier.replace("\x00", ""))
    with db.single_statements() as session:
        return _known(session.scalars(query).one_or_none())


def _known(found: Resource | None) -> Resource:
    if found is None:
        raise UnknownResource
    return found


def create_resource(
    *, identifier: str, name: str, scopes: Mapping[str, str], client_id: str | None = None
) -> Resource:
    """Register an API; `client_id` is the client that it introspects tokens as. Raises InvalidResource."""
    resource = Resource(id=uuid7(), identifier=identifier.strip(), version=1)
    with _changing() as session:
        _apply(session, resource, name=name, scopes=scopes, client_id=client_id)
        session.add(resource)
        session.flush()
        audit.record("resource.created", target=f"resource:{resource.id}", after=resource_values(resource))
    return resource


def update_resource(
    resource_id: uuid.UUID, *, expected: Collection[int] | None = None, **changes: Any
) -> Resource:
    """Change name, scopes or client_id; the identifier stays, since tokens and APIs hold it.

    `expected` are the versions that the change was made for.
    Raises UnknownResource, ResourceChanged, InvalidResource, ResourceInUse.
    """
    with _changing() as session:
        resource = _known(session.get(Resource, resource_id, with_for_update=True))
        if expected is not None and resource.version not in expected:
            raise ResourceChanged
        before = resource_values(resource)
        wanted = {name: before[name] for name in ("name", "scopes", "client_id")} | changes
        with session.no_autoflush:
            _apply(session, resource, **wanted)
            _nobody_has(session, set(before["scopes"]) - set(resource.scopes))
        after = resource_values(resource)
        changed = [name for name in after if after[name] != before[name]]
        if changed:
            resource.version += 1
            audit.record(
                "resource.updated",
                target=f"resource:{resource.id}",
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
            )
        session.flush()
    return resource


def delete_resource(resource_id: uuid.UUID) -> None:
    """Forget an API whose scopes no client may ask for. Raises UnknownResource, ResourceInUse."""
    with _changing() as session:
        resource = _known(session.get(Resource, resource_id, with_for_update=True))
        _nobody_has(session, set(resource.scopes))
        audit.record("resource.deleted", target=f"resource:{resource.id}", before=resource_values(resource))
        session.delete(resource)


def resource_values(resource: Resource) -> dict[str, Any]:
    """What was chosen for a resource."""
    return {
        "identifier": resource.identifier,
        "name": resource.name,
        "scopes": dict(resource.scopes),
        "client_id": resource.client_id,
    }


@contextmanager
def _changing() -> Iterator[Session]:
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(RESOURCES_LOCK)))
        yield session
        db.after_commit(forget)


def _apply(
    session: Session, resource: Resource, *, name: str, scopes: Mapping[str, str], client_id: str | None
) -> None:
    """Give the resource these values. Raises InvalidResource with a message per field."""
    resource.name, resource.client_id = name.strip(), (client_id or "").strip() or None
    resource.scopes = {scope.strip(): words.strip() for scope, words in scopes.items()}
    others = session.execute(
        sa.select(Resource.identifier, Resource.scopes).where(Resource.id != resource.id)
    ).all()
    found = {
        "identifier": _error_of_identifier(resource.identifier, {row.identifier for row in others}),
        "name": None
        if _is_text(resource.name)
        else lazy_gettext("Give it a name of at most 200 characters."),
        "scopes": _error_of_scopes(resource.scopes, {scope for row in others for scope in row.scopes}),
        "client_id": _error_of_client(session, resource.client_id),
    }
    if errors := {field: words for field, words in found.items() if words is not None}:
        raise InvalidResource(errors=errors)


def _is_text(text: str) -> bool:
    return 0 < len(text) <= MAX_WORDS_LENGTH and text.isprintable()


def _error_of_identifier(identifier: str, taken: Collection[str]) -> Any:
    """RFC 8707 §2: an absolute URI without a fragment; ours is https, and loopback may do without."""
    issuer = parts_of(current_app).settings.PUBLIC_URL
    if identifier in taken:
        return lazy_gettext("Another resource has this identifier.")
    if identifier == issuer or identifier.startswith(f"{issuer}/"):
        return lazy_gettext("This is ours: our own APIs need no registration.")
    try:
        parts = urlsplit(identifier)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        parts = urlsplit("")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    is_plain = identifier.isascii() and identifier.isprintable() and not set(identifier) & set(' #\\"<>')
    if len(identifier) > MAX_IDENTIFIER_LENGTH or not (is_safe and is_plain and parts.hostname):
        return lazy_gettext("An absolute https address without a fragment (http on loopback alone).")
    return lazy_gettext("No name or password in it.") if "@" in parts.netloc else None


def _error_of_scopes(scopes: Mapping[str, str], taken: Collection[str]) -> Any:
    if not 0 < len(scopes) <= MOST_SCOPES:
        return lazy_gettext("From one to %(count)s scopes.", count=MOST_SCOPES)
    for scope, words in scopes.items():
        if not SCOPE.match(scope):
            return lazy_gettext(
                "%(scope)s is no scope: letters, digits and signs without blanks, quotes and backslashes.",
                scope=scope[:MAX_SCOPE_LENGTH],
            )
        if scope in SCOPES:
            return lazy_gettext("%(scope)s is one of our own scopes.", scope=scope)
        if scope in taken:
            return lazy_gettext("%(scope)s is a scope of another resource.", scope=scope)
        if not _is_text(words):
            return lazy_gettext("Say what %(scope)s means, in at most 200 characters.", scope=scope)
    return None


def _error_of_client(session: Session, client_id: str | None) -> Any:
    if client_id is None:
        return None
    client = session.get(Client, client_id) if client_id.isprintable() else None
    if client is None:
        return lazy_gettext("There is no client with this id.")
    return lazy_gettext("A public client cannot introspect tokens.") if client.auth_method == "none" else None


def _nobody_has(session: Session, scopes: Collection[str]) -> None:
    """Raises ResourceInUse, naming some of the clients that may ask for one of these scopes."""
    if not scopes:
        return
    names = session.scalars(
        sa.select(Client.name).where(Client.scopes.overlap(sorted(scopes))).order_by(Client.name).limit(6)
    ).all()
    if names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise ResourceInUse(lazy_gettext("Take them from these apps first: %(names)s.", names=shown))
