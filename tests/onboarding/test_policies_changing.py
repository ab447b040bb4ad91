"""The policy is changed by command and on its page, and nobody overwrites what another changed meanwhile."""

import json
import threading

import pytest
from flask import Flask

from services.onboarding.flows import policies as flow
from tests.conftest import run_command, sign_in_copy
from tests.onboarding.test_policies import Put, administrator
from tests.pages import Browser


def test_set_changes_what_is_named_and_says_so_in_the_audit(onboarding_app: Flask, policy: Put) -> None:
    policy()
    result = run_command(
        onboarding_app, "policies", "set", "--mode", "invitation", "--trust", "@Good.TEST", "--json"
    )
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["mode"], values["trusted_domains"], values["most_per_address"]) == (
        "invitation",
        ["good.test"],
        5,
    )
    audit = run_command(
        onboarding_app, "audit", "list", "--json", "--target", "policy:onboarding", "--limit", "1"
    )
    [entry] = json.loads(audit.stdout)
    assert entry["action"] == "policy.changed"
    assert entry["actor"].startswith("command:")
    assert entry["before"] == {"mode": "review", "trusted_domains": []}
    assert entry["after"] == {"mode": "invitation", "trusted_domains": ["good.test"]}
    again = run_command(onboarding_app, "policies", "set", "--mode", "invitation", "--json")
    assert json.loads(again.stdout)["version"] == values["version"], "no change, no new version"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--trust", "nonsense"), "nonsense is no mail domain."),
        (("--trust", "x.test", "--refuse", "x.test"), "cannot be trusted and refused"),
        (("--most-per-address", "0"), "from 1 to 100"),
        (("--most-per-network", "1000000"), "from 1 to 100000"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_a_sentence(
    onboarding_app: Flask, policy: Put, arguments: tuple[str, ...], words: str
) -> None:
    policy()
    result = run_command(onboarding_app, "policies", "set", *arguments)
    assert result.exit_code == 1
    assert words in result.output


def test_of_two_changes_at_once_both_hold_and_of_two_pages_the_second_is_told(
    onboarding_app: Flask, policy: Put
) -> None:
    policy()
    domains = [f"d{number}.test" for number in range(4)]
    barrier = threading.Barrier(4)

    def trust(domain: str) -> None:
        barrier.wait()
        policy(trust=[domain])

    threads = [threading.Thread(target=trust, args=(domain,)) for domain in domains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with onboarding_app.app_context():
        assert flow.get_policy().trusted_domains == domains
    first, second = administrator(onboarding_app), administrator(onboarding_app)
    for browser in (first, second):
        browser.get("/admin/policies")
    first.fill(button="save", refused_domains="bad.test")
    assert first.status == 303
    second.fill(button="save", trusted_domains="other.test")
    assert second.status == 412
    assert "Somebody changed the policy meanwhile" in second.text
    assert "bad.test" in second.text
    second.fill(button="save")
    assert second.status == 303, "pressed once more, knowingly"
    with onboarding_app.app_context():
        policy_now = flow.get_policy()
    assert (policy_now.trusted_domains, policy_now.refused_domains) == (["other.test"], [])


def test_the_page_tries_an_address_and_says_what_is_wrong_beside_its_field(
    onboarding_app: Flask, policy: Put
) -> None:
    policy(refuse=["bad.test"])
    browser = administrator(onboarding_app)
    browser.get("/admin/policies", query_string={"email": "ada@sub.bad.test", "ip": "203.0.113.9"})
    verdict_part = browser.text.split('id="verdict"')[1].split("</p>")[0]
    assert "refused_domain" in verdict_part
    browser.get("/admin/policies", query_string={"email": "nonsense", "ip": ""})
    assert 'id="email-error"' in browser.text
    browser.get("/admin/policies", query_string={"email": "ada@people.test", "ip": "nonsense"})
    assert 'id="ip-error"' in browser.text
    browser.get("/admin/policies")
    browser.fill(button="save", most_per_address="many", trusted_domains="kept.test nonsense")
    assert browser.status == 422
    assert 'id="most_per_address-error"' in browser.text
    assert "kept.test" in browser.text


def test_administrators_alone_see_and_change_it_and_freshly_signed_in(onboarding_app: Flask) -> None:
    for roles, status in (([], 403), (["support"], 403), (["reviewer"], 403), (["admin"], 200)):
        browser = Browser(onboarding_app)
        sign_in_copy(browser, onboarding_app, roles=roles)
        assert browser.get("/admin/policies").status_code == status, roles
    stale = administrator(onboarding_app, auth_time=1)
    stale.get("/admin/policies")
    stale.fill(button="save", mode="open")
    assert 'id="sign-in-again"' in stale.text
    with onboarding_app.app_context():
        assert flow.get_policy().mode == "review"
