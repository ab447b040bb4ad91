"""Resources: the APIs that our access tokens are for, our own and those that staff registered (RFC 8707)."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.people.bearer.scopes import API_SCOPES
from libs.people.bearer.tokens import api_audience
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.models import Resource
from services.oidc.scopes import SCOPES

CACHE_LIFETIME = timedelta(seconds=1)
"""A change to a resource is seen by every process within this time."""


@dataclass(frozen=True, kw_only=True)
class RegisteredResource:
    """An API as the protocol sees it."""

    identifier: str
    name: str
    scopes: Mapping[str, Any]
    """Each scope of it, in words."""
    client_id: str | None
    """Who introspects tokens that are addressed to it; our own APIs never ask."""


_cache: tuple[float, dict[str, RegisteredResource]] = (float("-inf"), {})


def find_resources() -> dict[str, RegisteredResource]:
    """Every resource by its identifier, ours first, at most CACHE_LIFETIME old."""
    global _cache
    asked_at = time.monotonic()
    if asked_at - _cache[0] >= CACHE_LIFETIME.total_seconds():
        own = api_audience(parts_of(current_app).settings.PUBLIC_URL)
        found = {
            own: RegisteredResource(identifier=own, name="UpdSpace ID", scopes=API_SCOPES, client_id=None)
        }
        for row in db.fetch_all(sa.select(*Resource.__table__.columns).order_by(Resource.identifier)):
            found[row.identifier] = RegisteredResource(
                identifier=row.identifier, name=row.name, scopes=row.scopes, client_id=row.client_id
            )
        _cache = (asked_at, found)
    return _cache[1]


def forget() -> None:
    """Read them again at the next question; for whoever has just changed one in this process."""
    global _cache
    _cache = (float("-inf"), {})


def offered_scopes() -> dict[str, Any]:
    """Every scope that clients may be registered for, with its words, in the order in which people are asked."""
    found = dict(SCOPES)
    for resource in find_resources().values():
        for scope, words in resource.scopes.items():
            found.setdefault(scope, words)
    return found


def audience_of(scopes: Iterable[str], *, resources: Iterable[str] = ()) -> list[str]:
    """To whom a token with these scopes is addressed: the resources whose scopes they are, narrowed to those named.

    The issuer's own endpoints where `openid` lets userinfo answer, and where nothing else is meant.
    """
    wanted, named = set(scopes), set(resources)
    issuer = parts_of(current_app).settings.PUBLIC_URL
    found = [
        resource.identifier
        for resource in find_resources().values()
        if (resource.identifier in named if named else wanted & set(resource.scopes))
    ]
    return [issuer, *found] if "openid" in wanted or not found else found


def scopes_at(scopes: Iterable[str], *, resources: Iterable[str]) -> list[str]:
    """What of these scopes means something at these resources; all of them where none is named (RFC 8707 §2)."""
    named = set(resources)
    if not named:
        return list(scopes)
    of_others = {
        scope
        for resource in find_resources().values()
        if resource.identifier not in named
        for scope in resource.scopes
    }
    return [scope for scope in scopes if scope not in of_others]


def in_words(scopes: Iterable[str]) -> list[Any]:
    """What these scopes mean to a person, in the order in which people are asked."""
    wanted = set(scopes)
    return [words for scope, words in offered_scopes().items() if scope in wanted]
