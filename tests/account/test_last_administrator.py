"""The last administrator stays one."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.conftest import Person, execute, side_by_side
from tests.conftest import run_command


@pytest.fixture
def two_administrators(app: Flask, make_person: Callable[..., Person]) -> tuple[Person, Person]:
    """All that there are."""
    execute(app, "UPDATE users SET roles = '{}' WHERE 'admin' = ANY(roles)")
    return make_person(roles=["admin"]), make_person(roles=["admin"])


def test_the_last_administrator_stays(app: Flask, two_administrators: tuple[Person, Person]) -> None:
    one, other = two_administrators
    assert run_command(app, "users", "disable", one.email).exit_code == 0
    for arguments in (["disable", other.email], ["role", "remove", other.email, "admin"]):
        refused = run_command(app, "users", *arguments)
        assert refused.exit_code == 1
        assert "Make somebody else an administrator first." in refused.output
    assert run_command(app, "users", "enable", one.email).exit_code == 0
    assert run_command(app, "users", "role", "remove", other.email, "admin").exit_code == 0


@pytest.mark.parametrize("ways", [("disable", "disable"), ("role", "role"), ("disable", "role")])
def test_of_two_administrators_who_remove_each_other_one_stays(
    app: Flask, two_administrators: tuple[Person, Person], ways: tuple[str, str]
) -> None:
    from services.account.flows.users import LastAdministrator, disable_user, remove_role

    def act(way: str, person: Person) -> bool:
        with app.app_context():
            if way == "disable":
                return disable_user(sub=person.sub)
            return remove_role(sub=person.sub, role="admin")

    for _ in range(5):
        execute(
            app,
            "UPDATE users SET roles = '{admin}', status = 'active' WHERE sub = ANY(CAST(:subs AS uuid[]))",
            subs=[person.sub for person in two_administrators],
        )
        pairs = list(zip(ways, two_administrators, strict=True))
        results = side_by_side(*[lambda pair=pair: act(*pair) for pair in pairs])
        assert results.count(True) == 1
        assert len([result for result in results if isinstance(result, LastAdministrator)]) == 1
