"""What operators do to signing keys: rotate now, replace suspects, retire one."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import run_command
from tests.oidc.key_tools import (
    beat,
    ensure,
    header_of,
    is_read_by_apis,
    jwks,
    kid_of,
    kids,
    listed,
    look_again,
    moment,
    pass_time,
    rows,
    sign,
    states,
)
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

pytestmark = pytest.mark.usefixtures("no_keys")


def test_rotating_lets_the_next_keys_sign_and_says_so(app: Flask) -> None:
    ensure(app)
    old, coming = kid_of(app, "RS256", "current"), kid_of(app, "RS256", "next")
    before = kids(app)
    done = run_command(app, "keys", "rotate")
    assert done.exit_code == 0, done.output
    assert f"RS256: {coming} signs from now on, instead of {old}." in done.output
    assert "the replaced keys verify until" in done.output
    assert header_of(sign(app, "RS256"))["kid"] == coming
    assert before < kids(app), "everything published stays, and two more are next"


def test_a_second_rotation_waits_until_clients_know_the_key_after_that(app: Flask) -> None:
    ensure(app)
    assert run_command(app, "keys", "rotate").exit_code == 0
    before = states(app, "RS256")
    again = run_command(app, "keys", "rotate")
    assert again.exit_code == 1
    assert "Nothing was rotated. ES256: the next key can sign from 20" in again.output
    assert states(app, "RS256") == before
    pass_time(app, timedelta(minutes=21))
    assert run_command(app, "keys", "rotate").exit_code == 0


def test_rotating_one_algorithm_leaves_the_others_alone(app: Flask) -> None:
    ensure(app)
    done = run_command(app, "keys", "rotate", "--alg", "ES256", "--json")
    said = json.loads(done.stdout)
    assert [turn["alg"] for turn in said["rotated"]] == ["ES256"]
    assert said["waiting"] == {}
    assert moment(said["verify_until"])
    assert sorted(states(app, "RS256").values()) == ["current", "next"]
    refused = run_command(app, "keys", "rotate", "--alg", "EdDSA")
    assert refused.exit_code == 1
    assert "No client has asked for this algorithm yet" in refused.output


def test_two_operators_who_rotate_side_by_side_rotate_once(app: Flask) -> None:
    from services.oidc.flows.keys import rotate

    ensure(app)
    barrier = threading.Barrier(3)

    def press(_: int) -> int:
        barrier.wait()
        with app.app_context():
            return len(rotate().turns)

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(press, range(3))) == [0, 0, 2]
    assert sorted(states(app, "RS256").values()) == ["current", "next", "previous"]


def test_an_emergency_replaces_every_key_and_nothing_they_signed_is_believed(
    app: Flask, account_app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    run_command(app, "keys", "rotate")
    look_again()
    tokens = client.tokens(browser, scope="openid offline_access", prompt="consent")
    code = client.code(browser)
    suspects = kids(app)
    assert is_read_by_apis(app, account_app, tokens["access_token"])
    done = run_command(app, "keys", "rotate", "--emergency")
    assert done.exit_code == 0, done.output
    assert all(kid in done.output for kid in suspects)
    for words in (
        "refused at userinfo, introspection and our own APIs within seconds",
        "refresh tokens, which live on",
        "Until 20",
        "unknown kid",
        "signing out asks",
    ):
        assert words in done.output
    assert kids(app).isdisjoint(suspects)
    assert sorted(key["alg"] for key in jwks(app)) == ["ES256", "ES256", "RS256", "RS256"]
    assert client.userinfo(tokens["access_token"]).status_code == 401
    assert client.introspect(tokens["access_token"]) == {"active": False}
    assert client.answer(browser, prompt="none", id_token_hint=tokens["id_token"]).get("error")
    assert not is_read_by_apis(app, account_app, tokens["access_token"])

    renewed = client.refresh(tokens["refresh_token"])
    assert renewed.status_code == 200, "refresh tokens live on"
    assert client.userinfo(renewed.json["access_token"]).status_code == 200
    assert is_read_by_apis(app, account_app, renewed.json["access_token"])
    assert client.redeem(code).status_code == 200, "and so do codes"
    assert "code" in client.answer(browser, prompt="none"), "and sign-in sessions"
    gone = [row for row in rows(app) if row.kid in suspects]
    assert {row.state for row in gone} == {"retired"}
    assert not any(row.private_key_sealed for row in gone)
    assert all(row.withdrawn_at for row in gone)
    with app.app_context():
        audit = parts_of(app).audit.entries(target=f"key:{gone[0].kid}")
    assert audit[0].action == "key.withdrawn"
    assert audit[0].actor.startswith("command:")
    beat(app)
    assert kids(app).isdisjoint(suspects)


def test_an_emergency_of_one_algorithm_leaves_the_others_alone(app: Flask) -> None:
    ensure(app)
    before = states(app, "ES256")
    done = run_command(app, "keys", "rotate", "--emergency", "--alg", "RS256", "--json")
    said = json.loads(done.stdout)
    assert len(said["withdrawn"]) == 2
    assert moment(said["cached_until"])
    assert states(app, "ES256") == before
    assert sorted(states(app, "RS256").values()) == ["current", "next", "retired", "retired"]
    again = run_command(app, "keys", "rotate", "--alg", "RS256")
    assert again.exit_code == 1, "the one after it is as new"


def test_retiring_a_key_that_verifies_ends_what_it_signed(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    run_command(app, "keys", "rotate")
    kid = header_of(tokens["access_token"])["kid"]
    done = run_command(app, "keys", "retire", kid)
    assert done.exit_code == 0, done.output
    assert f"{kid} is retired: access tokens that it signed are refused" in done.output
    look_again()
    assert client.userinfo(tokens["access_token"]).status_code == 401
    assert client.userinfo(client.tokens(browser)["access_token"]).status_code == 200
    again = run_command(app, "keys", "retire", kid, "--json")
    assert json.loads(again.stdout)["was"] == "retired"


def test_retiring_a_next_key_makes_another_one_next(app: Flask) -> None:
    ensure(app)
    kid = kid_of(app, "ES256", "next")
    done = run_command(app, "keys", "retire", kid)
    assert "is retired before its turn, and another key is next" in done.output
    assert kid_of(app, "ES256", "next") != kid
    assert states(app, "ES256")[kid] == "retired"


def test_the_key_that_signs_is_retired_only_when_clients_know_its_successor(app: Flask) -> None:
    ensure(app)
    run_command(app, "keys", "rotate")
    kid, successor = kid_of(app, "ES256", "current"), kid_of(app, "ES256", "next")
    refused = run_command(app, "keys", "retire", kid)
    assert refused.exit_code == 1
    assert "The next key of ES256 can sign from 20" in refused.output
    assert "keys rotate --emergency" in refused.output, "what helps who cannot wait"
    assert states(app, "ES256")[kid] == "current"
    pass_time(app, timedelta(minutes=21))
    done = run_command(app, "keys", "retire", kid)
    assert f"{successor} signs ES256 from now on." in done.output
    assert header_of(sign(app, "ES256"))["kid"] == successor
    assert kid not in kids(app)


@pytest.mark.parametrize("kid", ["nobody", "-Slv3mHq", "--json3mHq", "-h"])
def test_retiring_a_key_that_is_not_there_says_so(app: Flask, kid: str) -> None:
    """Kids are base64url: some begin with a hyphen."""
    done = run_command(app, "keys", "retire", kid)
    assert done.exit_code == 1
    assert "There is no key with this id: keys list names them." in done.output


def test_the_list_says_when_each_key_changes_by_itself(app: Flask) -> None:
    ensure(app)
    run_command(app, "keys", "rotate")
    pass_time(app, timedelta(days=1))
    found = {row["state"]: row for row in listed(app, "RS256")}
    assert found["current"]["changes_at"] == found["next"]["changes_at"]
    rotation = moment(found["current"]["changes_at"]) - moment(found["current"]["activated_at"])
    assert rotation == timedelta(days=90)
    verifying = moment(found["previous"]["changes_at"]) - moment(found["previous"]["replaced_at"])
    assert timedelta(hours=1, minutes=5) <= verifying < timedelta(hours=1, minutes=6)
    text = run_command(app, "keys", "list").output
    assert text.startswith("kid ")
    assert "BEGIN" not in text
