"""The resources that a token request names (RFC 8707 §2): they narrow the access token of that response alone."""

from collections.abc import Collection

from authlib.oauth2 import OAuth2Error

from services.oidc.flows.resources import find_resources


class InvalidTarget(OAuth2Error):
    """A resource that nobody registered, or that was not granted."""

    error = "invalid_target"
    description = "The resource is not one that this token can be for."


def narrowed(named: Collection[str], *, scope: str, granted: Collection[str] = ()) -> list[str]:
    """The named resources, each once. Raises InvalidTarget.

    They must be among those that were granted; where none was named then, among those that the scope is about.
    One that has no scopes of its own is about any.
    """
    known, scopes = find_resources(), set(scope.split())
    for identifier in named:
        resource = known.get(identifier)
        if resource is None:
            raise InvalidTarget
        is_meant = identifier in granted if granted else not resource.scopes or scopes & set(resource.scopes)
        if not is_meant:
            raise InvalidTarget
    return list(dict.fromkeys(named))
