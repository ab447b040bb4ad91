"""Every trick with JWTs at every place that takes one: refused, quickly, and nothing is fetched (RFC 8725)."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from services.oidc.protocol import client_documents
from tests.account.programs import Program, deliver_keys
from tests.oidc.jose_tricks import Honest, Trap, tricks
from tests.oidc.relying_party import RelyingParty, error_of, http
from tests.oidc.signing_party import ASSERTION_TYPE, ClientSite, SigningParty, make_key, public, segment
from tests.oidc.test_authorization_checks import shown, told
from tests.oidc.test_client_authentication import is_refused as is_not_the_client
from tests.pages import ORIGIN, Browser

GOODBYE = "https://rp.test/goodbye"


@pytest.fixture
def trap() -> Iterator[Trap]:
    found = Trap()
    yield found
    found.close()


@dataclass
class Place:
    """Somewhere that takes a JWT: whether a text is refused there, as it should be, and whether it is accepted."""

    honest: Honest
    refuses: Callable[[str], bool]
    accepts: Callable[[str], bool]
    times: dict[str, dict[str, Any]]
    """Rightly signed claims that are refused here: too old, too young, too long."""
    can_hold: Callable[[str], bool] = bool


PLACES: dict[str, Callable[..., Place]] = {}


def place(name: str) -> Callable[[Callable[..., Place]], Callable[..., Place]]:
    def note(make: Callable[..., Place]) -> Callable[..., Place]:
        PLACES[name] = make
        return make

    return note


@cache
def _rsa() -> Any:
    return make_key("RS256", "rsa")


@dataclass
class World:
    """What places are made of."""

    app: Flask
    account: Flask
    browser: Browser
    person: Session
    make_client: Callable[..., RelyingParty]
    make_signer: Callable[..., SigningParty]
    site: ClientSite
    trap: Trap

    def ours(self, text: str) -> Honest:
        """A token of the issuer's own."""
        from services.oidc.protocol.keys import keys

        with self.app.app_context():
            by_alg = {alg: keys.signing_key(alg).jwk for alg in ("ES256", "RS256")}
        honest = Honest(text=text, key=None, address=self.trap.address)
        alg = honest.header["alg"]
        others = {other: key for other, key in by_alg.items() if other != alg}
        return Honest(text=text, key=by_alg[alg], others=others, address=self.trap.address)

    def signer(self, **settings: Any) -> SigningParty:
        """A client with several keys of its own, of which it uses one."""
        ec, rsa, okp = make_key("ES256", "ec"), _rsa(), make_key("EdDSA", "okp")
        party = self.make_signer(key=ec, jwks=public(ec, rsa, okp), **settings)
        self.others = {"RS256": rsa, "EdDSA": okp}
        return party

    def clients(self, party: SigningParty, text: str) -> Honest:
        return Honest(
            text=text,
            key=party.key,
            others=self.others,
            secret=party.secret or "none",
            address=self.trap.address,
        )


@pytest.fixture
def world(
    app: Flask,
    account_app: Flask,
    browser: Browser,
    person: Session,
    make_client: Callable[..., RelyingParty],
    make_signer: Callable[..., SigningParty],
    site: ClientSite,
    trap: Trap,
) -> World:
    return World(app, account_app, browser, person, make_client, make_signer, site, trap)


NOW = int(time.time())
TIMES = {"expired": {"exp": NOW - 600}, "not yet": {"nbf": NOW + 3600}, "of the future": {"iat": NOW + 3600}}


def _assertion_at(path: str) -> Callable[[World], Place]:
    def make(world: World) -> Place:
        party = world.signer()
        form = party.parameters() if path == "/oauth2/par" else {"grant_type": "refresh_token", "token": "x"}

        def send(text: str) -> TestResponse:
            values = {**form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": text}
            return http(world.app).post(path, base_url=ORIGIN, data=values)

        return Place(
            honest=world.clients(party, party.assertion(jti=f"never used until the end {path}")),
            refuses=lambda text: is_not_the_client(send(text)),
            accepts=lambda text: send(text).status_code in (200, 201, 400),
            times={**TIMES, "far future": {"exp": NOW + 10**6}, "endless": {"exp": 2**62}},
        )

    return make


for endpoint in ("token", "par", "introspect", "revoke"):
    PLACES[f"assertion at {endpoint}"] = _assertion_at(f"/oauth2/{endpoint}")


@place("request object by value")
def _by_value(world: World) -> Place:
    party = world.signer(auth_method="client_secret_basic")

    def send(text: str) -> Browser:
        world.browser.post("/oauth2/authorize", {"client_id": party.client_id, "request": text})
        return world.browser

    return Place(
        honest=world.clients(party, party.request_object()),
        refuses=lambda text: shown(send(text)),
        accepts=lambda text: send(text).location.startswith("/oauth2/authorize/"),
        times=TIMES,
    )


@place("request object by reference")
def _by_reference(world: World) -> Place:
    uri = world.site.url("/request.jwt")
    party = world.signer(auth_method="client_secret_basic", request_uris=[uri])

    def send(text: str) -> Browser:
        client_documents._failed_at.clear()
        world.site.show("/request.jwt", text)
        world.browser.post("/oauth2/authorize", {"client_id": party.client_id, "request_uri": uri})
        return world.browser

    return Place(
        honest=world.clients(party, party.request_object()),
        refuses=lambda text: shown(send(text)),
        accepts=lambda text: send(text).location.startswith("/oauth2/authorize/"),
        times=TIMES,
        # A file ends with a line break, and blanks around what is in it mean nothing.
        can_hold=lambda text: text == text.strip(),
    )


@place("request object, pushed")
def _pushed(world: World) -> Place:
    party = world.signer(auth_method="client_secret_post")

    def send(text: str) -> TestResponse:
        return party.post("/oauth2/par", {"request": text})

    return Place(
        honest=world.clients(party, party.request_object()),
        refuses=lambda text: (
            error_of(send(text)) in ((400, "invalid_request_object"), (400, "invalid_request"))
        ),
        accepts=lambda text: send(text).status_code == 201,
        times=TIMES,
    )


@place("id_token_hint at authorize")
def _hint(world: World) -> Place:
    party = world.make_client()
    return Place(
        honest=world.ours(party.tokens(world.browser)["id_token"]),
        refuses=lambda text: _is_no_hint(_post_hint(world, party, text)),
        accepts=lambda text: _post_hint(world, party, text).location.startswith("/oauth2/authorize/"),
        times={},
    )


def _post_hint(world: World, party: RelyingParty, text: str) -> Browser:
    world.browser.post("/oauth2/authorize", {**party.parameters(), "id_token_hint": text})
    return world.browser


def _is_no_hint(browser: Browser) -> bool:
    """The client is told; what nobody can read, or nobody could keep, is shown here."""
    return (browser.status == 400 and shown(browser)) or told(browser)["error"] == "invalid_request"


@place("id_token_hint at logout")
def _logout(world: World) -> Place:
    party = world.make_client(post_logout_redirect_uris=[GOODBYE])
    browser = world.browser

    def send(text: str) -> Browser:
        browser.post("/oauth2/logout", {"id_token_hint": text, "post_logout_redirect_uri": GOODBYE})
        while browser.status == 303 and browser.location.startswith("/oauth2/"):
            browser.get(browser.location)
        return browser

    return Place(
        honest=world.ours(party.tokens(browser)["id_token"]),
        refuses=lambda text: send(text).status == 200 and 'id="sign-out"' in browser.text,
        accepts=lambda text: send(text).location.startswith("/logout?ticket="),
        times={},
    )


@place("access token at userinfo")
def _userinfo(world: World) -> Place:
    party = world.make_client()

    def send(text: str) -> TestResponse:
        return http(world.app).post("/oauth2/userinfo", base_url=ORIGIN, data={"access_token": text})

    return Place(
        honest=world.ours(party.tokens(world.browser)["access_token"]),
        refuses=lambda text: send(text).status_code == 401,
        accepts=lambda text: send(text).status_code == 200,
        times={"expired": {"exp": NOW - 600}},
    )


@place("access token at introspection")
def _introspection(world: World) -> Place:
    party = world.make_client()

    def send(text: str) -> TestResponse:
        return party.post("/oauth2/introspect", {"token": text})

    return Place(
        honest=world.ours(party.tokens(world.browser)["access_token"]),
        refuses=lambda text: (found := send(text)).status_code == 200 and found.json == {"active": False},
        accepts=lambda text: send(text).json["active"] is True,
        times={"expired": {"exp": NOW - 600}},
    )


@place("access token at revocation")
def _revocation(world: World) -> Place:
    """Every unknown text is answered with 200; that none of them revoked is what the end shows."""
    party = world.make_client()
    return Place(
        honest=world.ours(party.tokens(world.browser)["access_token"]),
        refuses=lambda text: party.post("/oauth2/revoke", {"token": text}).status_code == 200,
        accepts=lambda text: party.userinfo(text).status_code == 200,
        times={"expired": {"exp": NOW - 600}},
    )


@place("access token at our APIs")
def _api(world: World) -> Place:
    party = world.make_client(scopes=("openid", "me"))
    token = party.tokens(world.browser, scope="openid me")["access_token"]
    deliver_keys(world.account, world.app)

    def send(text: str) -> TestResponse:
        return Program(world.account, text).get("/me")

    return Place(
        honest=world.ours(token),
        refuses=lambda text: send(text).status_code == 401,
        # The person is nobody of account's, whose row is asked only once the token was accepted.
        accepts=lambda text: send(text).status_code in (200, 404),
        times={"expired": {"exp": NOW - 600}},
        can_hold=lambda text: text.isprintable() and text.isascii() and text == text.strip(),
    )


@pytest.mark.parametrize("name", PLACES)
def test_no_trick_opens_anything_none_takes_long_and_nothing_is_fetched(world: World, name: str) -> None:
    there = PLACES[name](world)
    texts = tricks(there.honest)
    for kind, change in there.times.items():
        texts[kind] = there.honest.signed({**there.honest.claims, **change})
    assert len(texts) > 100
    for trick, text in texts.items():
        if not there.can_hold(text):
            continue
        began = time.perf_counter()
        assert there.refuses(text), f"{name}: {trick}"
        assert time.perf_counter() - began < 5, f"{name}: {trick}"
    assert world.trap.visits == 0
    assert there.accepts(there.honest.text), "it was the tricks that were refused"


def test_a_client_that_may_send_unsigned_requests_may_not_play_the_other_tricks(
    world: World, make_client: Callable[..., RelyingParty]
) -> None:
    party = world.signer(auth_method="client_secret_basic", request_object_signing_alg="none")
    honest = world.clients(party, party.request_object())
    for trick, text in tricks(honest).items():
        # Exactly this is what it registered for: with another body or header it is its own to say.
        if trick == "alg 'none'":
            continue
        world.browser.post("/oauth2/authorize", {"client_id": party.client_id, "request": text})
        assert shown(world.browser) or not text, trick
    assert world.trap.visits == 0


def test_a_member_twice_is_refused_even_where_the_client_signed_it(world: World) -> None:
    """Two readers of one header or body must not see two things."""
    party = world.signer()
    honest = world.clients(party, party.assertion())
    head, body, _ = honest.text.split(".")

    def twice(values: dict[str, Any], name: str) -> str:
        return segment((json.dumps(values)[:-1] + f', "{name}": {json.dumps(values[name])}}}').encode())

    for text in (
        honest.signed_parts(twice(honest.header, "alg"), body),
        honest.signed_parts(head, twice(honest.claims, "aud")),
    ):
        assert is_not_the_client(party.post("/oauth2/token", {"grant_type": "refresh_token"}, assertion=text))
