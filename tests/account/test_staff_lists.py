"""Long lists of people: every one is read by an index."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.account.plans import assert_flat, plans_of, seeded
from tests.pages import Browser


@pytest.fixture(scope="module")
def many_people(account_app: Flask) -> Iterator[Flask]:
    with seeded(account_app, users=20_000, events=100):
        yield account_app


@pytest.mark.parametrize(
    ("text", "state", "index"),
    [
        ("", None, "pk_users"),
        ("", "active", "pk_users"),
        ("", "disabled", "ix_users_disabled"),
        ("", "staff", "ix_users_staff"),
        ("", "erasing", "ix_users_erase_at"),
        ("", "no_password", "pk_users"),
        ("", "second_factor", "pk_users"),
        ("p77.", None, "ix_users_email_prefix"),
        ("z977", None, "ix_users_name_word_3"),
        ("kowalski ann", None, "ix_users_name_word_2"),
        ("@d77.seed.test", None, "ix_users_domain_id"),
        ("@d77.seed.test", "disabled", "ix_users_domain_id"),
        ("z977", "disabled", "ix_users_name_word_3"),
    ],
    ids=str,
)
def test_every_list_of_people_is_read_by_an_index(
    many_people: Flask, text: str, state: str | None, index: str
) -> None:
    from services.account.flows.search import search_users

    def read() -> None:
        page = search_users(text=text, state=state, limit=50)
        if page.before is not None:
            search_users(text=text, state=state, before=page.before, limit=50)

    assert_flat(plans_of(many_people, "users", read), index=index)


def test_a_search_that_fits_too_many_says_so(many_people: Flask, admin: Browser) -> None:
    admin.get("/admin/users", query_string={"q": "p"})
    assert "Very many people" in admin.text
    admin.get("/admin/users", query_string={"q": "p77."})
    assert "Very many people" not in admin.text
