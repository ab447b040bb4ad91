"""/account/profile: what a person says about themselves, and who hears of it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.messaging.events import UserChanged
from tests.account.conftest import Person, copy_of, rows, side_by_side, sign_in
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of

WHOLE = {
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "middle_name": "Augusta",
    "family_name": "Lovelace",
    "nickname": "Countess",
    "preferred_username": "ada",
    "profile": "https://ada.test/me?x=1#top",
    "website": "http://ada.test/",
    "gender": "female",
    "birthdate": "1815-12-10",
    "phone_number": "+44 (20) 7946-0000",
    "street_address": "12 St James's Square\r\nFlat 3",
    "postal_code": "SW1Y 4JH",
    "locality": "London",
    "region": "Greater London",
    "country": "GB",
}
CLAIMS = {
    **{name: value for name, value in WHOLE.items() if name not in (
        "phone_number", "street_address", "postal_code", "locality", "region", "country",
    )},
    "phone_number": "+442079460000",
    "phone_number_verified": False,
    "address": {
        "street_address": "12 St James's Square\nFlat 3",
        "postal_code": "SW1Y 4JH",
        "locality": "London",
        "region": "Greater London",
        "country": "GB",
    },
}  # fmt: skip


def save(browser: Browser, **fields: str) -> Any:
    return browser.fill("/account/profile", button="save-profile", **fields)


def changes(app: Flask, person: Person) -> list[UserChanged]:
    return [event for event in recorded(app, UserChanged) if event.sub == person.sub]


def claims(app: Flask, browser: Browser) -> dict[str, Any]:
    shared = copy_of(app, browser)
    assert shared is not None
    return shared.claims


def test_every_standard_claim_is_kept_announced_and_in_the_session_at_once(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    save(browser, **WHOLE)
    assert (browser.status, browser.location) == (303, "/account/profile")
    event = changes(app, person)[-1]
    assert event.version == 2
    kept = ("email", "email_verified", "locale", "updated_at")
    for said in (event.claims, claims(app, browser)):
        assert {name: value for name, value in said.items() if name not in kept} == CLAIMS
    browser.get("/account/profile")
    assert "Saved." in browser.text
    for value in ("Lovelace", "+442079460000", "Flat 3", "SW1Y 4JH", "1815-12-10"):
        assert value in browser.text


def test_what_is_emptied_is_taken_away(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    save(browser, **WHOLE)
    save(browser, **{name: "" for name in WHOLE if name != "name"})
    assert set(claims(app, browser)) == {"name", "email", "email_verified", "locale", "updated_at"}
    assert rows(app, "SELECT profile FROM users WHERE sub = :sub", sub=person.sub) == [({},)]


def test_saving_the_same_again_tells_nobody(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    save(browser, **WHOLE)
    count = len(changes(app, person))
    save(browser)
    assert browser.status == 303
    assert len(changes(app, person)) == count


def test_the_audit_says_what_changed_and_not_to_what(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    save(browser, **WHOLE)
    audit = run_command(app, "audit", "list", "--target", f"user:{person.sub}", "--json").output
    assert "user.profile_changed" in audit
    assert f"user:{person.sub}" in audit
    for name in ("phone_number", "address", "birthdate"):
        assert name in audit
    for value in ("Lovelace", "7946", "London", "1815"):
        assert value not in audit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", "Ada\x07"),
        ("name", "A\u202eda"),
        ("given_name", "x" * 101),
        ("profile", "javascript:alert(1)"),
        ("profile", "ada.test/me"),
        ("website", "https://"),
        ("website", "https://user:secret@ada.test/"),
        ("website", "https://ada.test/" + "x" * 500),
        ("website", "https://ada.test:99999/"),
        ("birthdate", "10.12.1815"),
        ("birthdate", "1815-13-10"),
        ("birthdate", "2999-01-01"),
        ("birthdate", "1900-02-29"),
        ("birthdate", "0000"),
        ("phone_number", "020 7946 0000"),
        ("phone_number", "+0123456789"),
        ("phone_number", "+4420794600001234"),
        ("street_address", "x" * 301),
        ("country", "G\tB\x00"),
    ],
)
def test_what_cannot_be_right_is_shown_beside_its_field_and_nothing_is_kept(
    app: Flask, browser: Browser, person: Person, field: str, value: str
) -> None:
    sign_in(browser, person)
    before = claims(app, browser)
    save(browser, **{"given_name": "Typed", field: value})
    assert browser.status == 422
    assert f'id="{field}-error"' in browser.text
    if field != "given_name":
        assert 'value="Typed"' in browser.text, "what was typed is not lost"
    assert claims(app, browser) == before


@pytest.mark.parametrize("birthdate", ["0000-02-29", "1815", "2000-02-29"])
def test_a_birthday_may_leave_the_year_or_the_day_out(
    app: Flask, browser: Browser, person: Person, birthdate: str
) -> None:
    sign_in(browser, person)
    save(browser, birthdate=birthdate)
    assert claims(app, browser)["birthdate"] == birthdate


def test_markup_and_templates_stay_text(browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    save(browser, name="<i>Ann</i> {{7*7}}", nickname='"><script>x</script>', follow=True)
    assert "<script>x" not in browser.text
    assert "&lt;i&gt;Ann&lt;/i&gt; {{7*7}}" in browser.text


def test_a_chosen_language_holds_on_every_page_at_once(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.fill(
        "/account/profile", button="save-language", locale="ru", zoneinfo="Europe/Berlin", follow=True
    )
    assert "Профиль" in browser.text
    assert "Сохранено" in browser.text
    assert claims(app, browser)["locale"] == "ru"
    assert claims(app, browser)["zoneinfo"] == "Europe/Berlin"
    assert [(event.version, event.locale) for event in changes(app, person)] == [(1, "en"), (2, "ru")]
    browser.fill("/account/profile", button="save-language", zoneinfo="")
    assert "zoneinfo" not in claims(app, browser)


@pytest.mark.parametrize(
    "fields", [{"locale": "tlh"}, {"zoneinfo": "Middle/Earth"}, {"zoneinfo": "../etc/passwd"}]
)
def test_a_language_or_zone_that_there_is_not_is_refused(
    browser: Browser, person: Person, fields: dict[str, str]
) -> None:
    sign_in(browser, person)
    browser.get("/account/profile")
    browser.post("/account/profile", {"csrf_token": token_of(browser), **fields})
    assert browser.status == 422


def test_two_changes_side_by_side_both_count(app: Flask, person: Person) -> None:
    from services.account.flows.profile import change_profile

    def change(**wanted: Any) -> Callable[[], Any]:
        def act() -> Any:
            with app.app_context():
                return change_profile(sub=person.sub, changes=wanted)

        return act

    side_by_side(change(nickname="Countess"), change(gender="female"), change(name="Ada"))
    assert sorted(event.version for event in changes(app, person)) == [1, 2, 3, 4]
    [(profile, name)] = rows(app, "SELECT profile, name FROM users WHERE sub = :sub", sub=person.sub)
    assert (profile, name) == ({"nickname": "Countess", "gender": "female"}, "Ada")
    newest = max(changes(app, person), key=lambda event: event.version)
    assert (newest.claims["nickname"], newest.claims["gender"], newest.claims["name"]) == (
        "Countess",
        "female",
        "Ada",
    )


def test_a_change_for_another_state_of_the_account_is_refused(app: Flask, person: Person) -> None:
    from services.account.flows.profile import ChangedMeanwhile, change_profile

    with app.app_context():
        user = change_profile(sub=person.sub, changes={"nickname": "A"}, versions=[1])
        assert user.version == 2
        with pytest.raises(ChangedMeanwhile):
            change_profile(sub=person.sub, changes={"nickname": "B"}, versions=[1])


def test_nobody_changes_it_who_is_not_signed_in_or_comes_from_elsewhere(
    browser: Browser, person: Person
) -> None:
    browser.get("/account/profile")
    assert browser.location == "/login?continue=%2Faccount%2Fprofile"
    sign_in(browser, person)
    browser.get("/account/profile")
    data = {"csrf_token": token_of(browser), "nickname": "x"}
    assert (
        browser.post("/account/profile", data, headers={"Origin": "https://elsewhere.test"}).status_code
        == 403
    )
