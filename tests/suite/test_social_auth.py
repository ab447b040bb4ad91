"""social-auth-core signs a member in: the library behind "Sign in with …" of many Django and Flask sites."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from social_core.backends.open_id_connect import OpenIdConnectAuth
from social_core.exceptions import AuthException
from social_core.strategy import BaseStrategy

from tests.suite.people import People

CALLBACK = "https://app.test/callback"


class Memory:
    """What the library wants stored between the two requests: nonces, and states that were used."""

    def __init__(self) -> None:
        self.associations: list[Any] = []
        self.used: set[tuple[Any, ...]] = set()
        self.association = self.nonce = self

    def store(self, server_url: str, association: Any) -> None:
        association.id, association.server_url = len(self.associations), server_url
        association.is_expired = lambda: False
        self.associations.append(association)

    def get(self, server_url: str, handle: str) -> list[Any]:
        return [one for one in self.associations if (one.server_url, one.handle) == (server_url, handle)]

    def remove(self, ids: list[int]) -> None:
        self.associations = [one for one in self.associations if one.id not in ids]

    def use(self, *key: Any) -> bool:
        is_new = key not in self.used
        self.used.add(key)
        return is_new

    def consume(self, *key: Any) -> bool:
        is_known = key in self.used
        self.used.discard(key)
        return is_known


class Strategy(BaseStrategy[str]):
    """One browser's session with a site that uses the library."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(storage=Memory())  # type: ignore[arg-type]
        self.settings, self.session, self.data = settings, dict[str, Any](), dict[str, Any]()

    def get_setting(self, name: str) -> Any:
        return self.settings[name.removeprefix("SOCIAL_AUTH_OIDC_")]

    def request_data(self, merge: bool = True) -> dict[str, Any]:
        return self.data

    def session_get(self, name: str, default: Any = None) -> Any:
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        self.session[name] = value

    def session_pop(self, name: str) -> Any:
        return self.session.pop(name, None)

    def build_absolute_uri(self, path: str | None = None) -> str:
        return urljoin("https://app.test", path or "")

    def redirect(self, url: str) -> str:
        return url

    def authenticate(self, backend: Any, *arguments: Any, **details: Any) -> Any:
        """Where a site would look its user up: what was learned is all that is asked here."""
        return SimpleNamespace(response=details["response"], uid=backend.get_user_id({}, details["response"]))


@pytest.mark.parametrize("auth_method", ["client_secret_basic", "client_secret_post"])
def test_social_auth_core_signs_a_member_in(people: People, auth_method: str) -> None:
    member, client = people.member(), people.client("--auth-method", auth_method)
    strategy = Strategy(
        {
            "OIDC_ENDPOINT": people.origin,
            "KEY": client["client_id"],
            "SECRET": client["client_secret"],
            "USE_PKCE": True,
            "TOKEN_ENDPOINT_AUTH_METHOD": auth_method,
            "VERIFY_SSL": people.certificate,
        }
    )

    def backend_of_a_request() -> Any:
        return OpenIdConnectAuth(strategy, redirect_uri=CALLBACK)

    member.browser.get(backend_of_a_request().start(), follow=True)
    if not member.browser.location.startswith(CALLBACK):
        member.browser.fill(button="allow", follow=True)
    strategy.data = dict(parse_qsl(urlsplit(member.browser.location).query))

    backend = backend_of_a_request()
    learned = backend.complete()
    assert learned.uid == backend.id_token["sub"]
    assert learned.response["email"] == member.email
    assert backend.get_user_details(learned.response)["fullname"] == member.name

    if auth_method == "client_secret_post":  # the library refreshes in this way, whatever it was told
        fresh = backend.refresh_token(learned.response["refresh_token"])
        assert fresh["access_token"] != learned.response["access_token"]
        assert backend.user_data(fresh["access_token"])["sub"] == learned.uid

    with pytest.raises(AuthException):
        backend_of_a_request().complete()
