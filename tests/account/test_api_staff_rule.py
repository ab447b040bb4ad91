"""/api/v1/users/rules: what administrators decide for everybody, by program."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.account.conftest import Person
from tests.account.programs import Program
from tests.account.second_factors import person_with_app
from tests.conftest import run_command
from tests.pages import Browser

RULE = "/users/rules/second-factor-for-staff"
Programs = Callable[..., Program]


@pytest.fixture(autouse=True)
def _no_rule_left_over(app: Flask) -> Iterator[None]:
    yield
    run_command(app, "users", "second-factor-for-staff", "optional")


def test_who_would_lose_their_own_roles_cannot_make_the_rule(admin_program: Program) -> None:
    answer = admin_program("PUT", RULE, json={"required": True})
    assert (answer.status_code, answer.json["type"]) == (409, "urn:updspace-id:problem:would-lock-you-out")
    assert admin_program.get(RULE).json == {"required": False}


def test_whoever_has_a_second_factor_makes_the_rule_and_lifts_it(
    app: Flask, browser: Browser, make_person: Callable[..., Person], program_of: Programs
) -> None:
    boss = make_person(roles=["admin"])
    person_with_app(app, browser, boss)
    client = program_of(None, "users:read users:write")
    assert program_of(boss, "users:write")("PUT", RULE, json={"required": True}).json == {"required": True}
    assert [client.get(RULE).json for _ in range(2)] == [{"required": True}] * 2
    assert [client("PUT", RULE, json={"required": False}).json for _ in range(2)] == [{"required": False}] * 2
    assert client.get(RULE).json == {"required": False}


@pytest.mark.parametrize("body", [{}, {"required": None}, {"required": "perhaps"}, {"require": True}])
def test_a_rule_says_what_it_is_to_be(admin_program: Program, body: dict[str, object]) -> None:
    assert admin_program("PUT", RULE, json=body).status_code == 422
