"""Every block of docs/runbook.md runs as it is printed, and says what it is there to say."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from prometheus_client import generate_latest

from libs.observe.metrics import Metrics
from tests.runbook import deployment
from tests.runbook.about_databases import ABOUT_DATABASES
from tests.runbook.about_secrets import ABOUT_SECRETS, of_account
from tests.runbook.about_signing_keys import ABOUT_SIGNING_KEYS
from tests.runbook.conftest import MEMBER, Operator, is_signed_in
from tests.runbook.document import Block, blocks
from tests.runbook.expected import Expected
from tests.running import wait_until

# -- what has to be so, and what is so afterwards --------------------------------------------------------------

_open: dict[str, Any] = {}
"""Browsers that a block is expected to sign out."""


def signed_in(operator: Operator) -> None:
    _open["browser"] = operator.signed_in()


def disabled(operator: Operator) -> None:
    operator.member()
    operator.command("account", "users", "disable", MEMBER, "--reason", "Under investigation")


def is_out_for_now(operator: Operator, said: str) -> None:
    is_signed_out(operator, said)
    operator.command("account", "users", "enable", MEMBER, "--reason", "Cleared")


def a_disabled_client(operator: Operator) -> dict[str, str]:
    client = a_client(operator)
    operator.command("oidc", "clients", "update", client["CLIENT_ID"], "--disable")
    return client


def closed(operator: Operator) -> None:
    operator.command("onboarding", "policies", "set", "--mode", "closed")


def is_open_again(operator: Operator, said: str) -> None:
    operator.command("onboarding", "policies", "set", "--mode", "review")


def is_signed_out(operator: Operator, said: str) -> None:
    assert not is_signed_in(_open["browser"])


def signed_in_before(operator: Operator) -> None:
    signed_in(operator)
    _open["links"] = len(operator.password_links())


def is_secured(operator: Operator, said: str) -> None:
    is_signed_out(operator, said)
    assert operator.try_sign_in().status == 422
    operator.set_password(beyond=_open["links"])
    assert operator.try_sign_in().status == 303


def opens_the_activation_page(operator: Operator, said: str) -> None:
    link = re.search(r"https?://\S+/activate\?token=\S+", said)
    assert link
    assert link[0].startswith(operator.house.origin)
    browser = operator.house.browser()
    browser.get(link[0], follow=True)
    assert 'id="activate"' in browser.text


def about(service: str) -> Callable[[Operator], dict[str, str]]:
    return lambda operator: {"SERVICE": service}


def has_account(operator: Operator, said: str) -> None:
    wait_until(operator.has_account)
    operator.member()


def failed_once(operator: Operator) -> None:
    operator.member()
    assert operator.try_sign_in("not the password of anybody").status == 422


def is_enhanced(operator: Operator) -> None:
    operator.command("account", "ratelimits", "enhance")


def is_relaxed(operator: Operator, said: str) -> None:
    assert "as usual" in operator.command("account", "ratelimits", "relax")


def a_block(operator: Operator) -> dict[str, str]:
    added = ("blocks", "add", "--ip", "198.51.100.0/24", "--for", "1h", "--reason", "test", "--json")
    return {"BLOCK_ID": json.loads(operator.command("account", *added))["id"]}


def a_client(operator: Operator) -> dict[str, str]:
    made = (
        "clients",
        "create",
        "--name",
        "Billing",
        "--redirect-uri",
        "https://billing.example.com/callback",
    )
    client = json.loads(operator.command("oidc", *made, "--json"))
    return {"CLIENT_ID": client["client_id"], "CLIENT_SECRET": client["client_secret"]}


def is_lifted(operator: Operator, said: str) -> None:
    assert "198.51.100.0/24" not in operator.command("account", "blocks", "list")


def a_request(operator: Operator) -> dict[str, str]:
    answer = requests.get(f"{operator.house.origin}/login", timeout=30)
    return {"REQUEST_ID": answer.headers["X-Request-ID"]}


def a_refused_request(operator: Operator) -> dict[str, str]:
    answer = requests.get(f"{operator.house.origin}/oauth2/authorize?client_id=nobody", timeout=30)
    return {"REQUEST_ID": answer.headers["X-Request-ID"]}


def a_refused_token(operator: Operator) -> dict[str, str]:
    """Somebody's code that is none."""
    client = a_client(operator)
    answer = requests.post(
        f"{operator.house.origin}/oauth2/token",
        {
            "grant_type": "authorization_code",
            "code": "none",
            "redirect_uri": "https://billing.example.com/callback",
        },
        auth=(client["CLIENT_ID"], client["CLIENT_SECRET"]),
        timeout=30,
    )
    assert answer.status_code == 400, answer.text
    return {"REQUEST_ID": answer.headers["X-Request-ID"]}


def traced(operator: Operator) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


THREE = "3. Check OIDC client configuration"
HEADER = r"created_at +\| email +\| ip_address +\| success +\| failure_reason"

EXPECTED = {
    "Health check endpoints / 1": Expected((r'\{"status":"alive"\}',)),
    "Health check endpoints / 2": Expected((r'"failing":\[\]',)),
    "Health check endpoints / 3": Expected((r'"status":"healthy"', r'"name":"database"')),
    "Health check endpoints / 4": Expected((r"status: healthy", r"component +\| status")),
    "1. Manually activate a user / 1": Expected(
        (r"Activation URL: http",), Operator.applicant, opens_the_activation_page
    ),
    "1. Manually activate a user / 2": Expected(
        (rf"Activated {MEMBER}: a mail to set a password follows",), Operator.applicant, has_account
    ),
    "1. Manually activate a user / 3": Expected(
        (rf"email: {MEMBER}", r"status: active", r"has_password: True"), Operator.member
    ),
    "2. Revoke all sessions for a user / 1": Expected(
        (rf"Ended [1-9]\d* session\(s\) of {MEMBER}\. Their grants have ended too\.",),
        signed_in,
        is_signed_out,
    ),
    "2. Revoke all sessions for a user / 2": Expected(
        (rf"{MEMBER} is secured",), signed_in_before, is_secured
    ),
    "2. Revoke all sessions for a user / 3": Expected((rf"{MEMBER} +\|", r"pwd"), signed_in),
    "2. Revoke all sessions for a user / 4": Expected(
        (rf"{MEMBER} is disabled and signed out everywhere",), signed_in, is_out_for_now
    ),
    "2. Revoke all sessions for a user / 5": Expected((rf"{MEMBER} may sign in again",), disabled),
    "4. View recent login events / 1": Expected(
        (HEADER, rf"{MEMBER}.*\| False +\| bad_password"), failed_once
    ),
    "4. View recent login events / 2": Expected((HEADER, rf"{MEMBER}", r"No login events\."), failed_once),
    "5. Reset rate limits for IP/user / 1": Expected((r"No limit is counting\.", r"Forgot 0 count\(s\)\.")),
    "5. Reset rate limits for IP/user / 2": Expected((r"Forgot [1-9]\d* count\(s\)\.",), failed_once),
    "6. Let somebody in who has lost every second factor / 1": Expected(
        (rf"Removed .* of {MEMBER}, who is signed out everywhere and told by mail",), signed_in, is_signed_out
    ),
    f"{THREE} / 1": Expected(
        (
            r"client_id +\| name +\| auth_method +\| redirect_uris +\| scopes",
            r"Billing .*https://billing\.example\.com/callback +\| openid, profile, email",
        ),
        a_client,
    ),
    f"{THREE} / 2": Expected(
        (r"^require_pkce: True", r"^secrets: since .*, last used never", r"^Nothing is weak\."), a_client
    ),
    f"{THREE} / 3": Expected((r"The secret is right\.",), a_client),
    f"{THREE} / 4": Expected((r"^client_secret: \S{43}$",), a_client),
    f"{THREE} / 5": Expected((r"Client \S+ is updated\.",), a_client),
    f"{THREE} / 6": Expected((r"Client \S+ is updated\.",), a_client),
    f"{THREE} / 7": Expected((r"Client \S+ is updated\.",), a_disabled_client),
    f"{THREE} / 8": Expected((r"billing: created \(not done: --dry-run\)", r"name: Billing")),
    f"{THREE} / 9": Expected((r"^token: \S{43}$", r"Partner's portal +\| holds")),
    f"{THREE} / 10": Expected(
        (r"^it was told: invalid_request", r"^what to do: The client_id is mistyped"), a_refused_request
    ),
    "7. Decide who may join / 1": Expected(
        (r"rule +\| setting", rf"^{MEMBER} is reviewed by the rule review"),
    ),
    "7. Decide who may join / 2": Expected((r"mode closed\.",), after=is_open_again),
    "7. Decide who may join / 3": Expected((r"mode review\.",), closed),
    "7. Decide who may join / 4": Expected((r"is mailed to guest@example\.com", r"guest@example\.com +\|")),
    "Mail that does not arrive / 1": Expected((rf"\| {MEMBER} +\| sent", r"No messages\."), Operator.member),
    "Mail that does not arrive / 2": Expected((rf"^recipient: {MEMBER}", r"\| sent"), Operator.lose_a_mail),
    "Mail that does not arrive / 3": Expected((r"smtp +\| closed",)),
    "Mail that does not arrive / 4": Expected((r"smtp (is|was) closed", r"Queued again: 0\.")),
    "Mail that does not arrive / 5": Expected(
        (rf"{MEMBER} +\| bounced", rf"{MEMBER} may have mail again\."), Operator.lose_a_mail
    ),
    "Events that wait or are parked / 1": Expected((r"No events\.",), about("onboarding")),
    "Events that wait or are parked / 2": Expected((r".",), about("onboarding")),
    "A service that is down or degraded / 1": Expected(
        (r'"status":"healthy"', r"^database +\| healthy"), of_account
    ),
    "High latency or server errors / 1": Expected((r"query: [\d.]+ ms",), of_account),
    "Rate limits that refuse many requests / 1": Expected((r"rl:login:ip:127\.0\.0\.1", HEADER), failed_once),
    "Rate limits that refuse many requests / 2": Expected((r"Forgot \d+ count\(s\)\.",)),
    "Queues that grow / 1": Expected(
        (r"^email +\| healthy", r"^(No events\.|event_id)"), about("notification")
    ),
    "A worker that is silent / 1": Expected((r"^workers +\| healthy",), of_account),
    "Beat that is silent / 1": Expected((r"^cache +\| healthy",)),
    "High authentication failure rate / 1": Expected(
        (r"failure_reason +\| count", r"bad_password +\| [1-9]"), failed_once
    ),
    "High authentication failure rate / 2": Expected((HEADER,), failed_once),
    "High authentication failure rate / 3": Expected((r"Limits are enhanced until 20",), after=is_relaxed),
    "High authentication failure rate / 4": Expected((r"Limits are as usual again\.",), is_enhanced),
    "High authentication failure rate / 5": Expected(
        (
            r"Blocked 203\.0\.113\.0/24 until .*Sessions that are open stay",
            r"Blocked throwaway\.example until",
            r"203\.0\.113\.0/24 +\|.*Credential stuffing",
        )
    ),
    "High authentication failure rate / 6": Expected((r"Lifted the block\.",), a_block, is_lifted),
    "High authentication failure rate / 7": Expected(
        (r"resolve: [\d.]+ ms", r"query: [\d.]+ ms", r"Active connections: \d+ of \d+")
    ),
    "OIDC token endpoint errors / 1": Expected(
        (
            r'"logger": "OIDC\.token"',
            r'"event": "token_refused".*"error": "invalid_grant"|"error": "invalid_grant"',
        ),
        a_refused_token,
    ),
    "OIDC token endpoint errors / 2": Expected((r"^it was told: invalid_grant",), a_refused_token),
    "OIDC token endpoint errors / 3": Expected((r"kid +\| alg +\| state", r"^Kid: \S+, Alg: RS256$")),
    "OIDC token endpoint errors / 4": Expected((r"The secret is right\.", r"^Nothing is weak\."), a_client),
    "Redis lost / 1": Expected((r"cache +\| healthy", r"No events\.|event_id")),
    "Redis lost / 2": Expected(
        (r"Limits are enhanced until 20", r"Ended [1-9]\d* session\(s\)"), signed_in, is_relaxed
    ),
    "Circuit breaker open for OAuth provider / 1": Expected(
        (r"github_oauth +\| open +\| 5", r'"circuit breaker open"'), Operator.break_github
    ),
    "Circuit breaker open for OAuth provider / 2": Expected(
        (r"github_oauth is closed; it was open\.",), Operator.break_github
    ),
    "Apps that do not hear of sign-outs / 1": Expected(
        (r"last_error", r"Calendar +\|.*\| parked +\| 60 +\| not reached"), Operator.park_a_logout
    ),
    "Apps that do not hear of sign-outs / 2": Expected(
        (r"[1-9]\d* logout\(s\) are on their way again\.",), Operator.park_a_logout
    ),
    "Apps that do not hear of sign-outs / 3": Expected(
        (r"1 logout\(s\) are on their way again\.",), Operator.park_a_logout
    ),
    "Client secrets / 1": Expected((r"^client_secret: \S{43}$", r"^secrets: since"), a_client),
    "Clear expired sessions / 1": Expected((r"Deleted \d+ session\(s\)\.",)),
    "Appendix: useful commands / 3": Expected((r'"path": "/login", "status": 200',), a_request),
    "Appendix: useful commands / 4": Expected(
        (r'"path": "/login", "status": 200.*"correlation_id"',), a_request
    ),
    "Appendix: useful commands / 5": Expected((r"(deployment env updated\n){2}",)),
    "Appendix: useful commands / 6": Expected((r"(deployment env updated\n){2}",), traced),
    "Appendix: useful commands / 7": Expected((r'"reason": "bad_password"',), failed_once),
    "Appendix: useful commands / 8": Expected((r"created_at +\| actor +\| action",)),
    "Appendix: useful commands / 9": Expected(
        (rf"{MEMBER} +\| Uma Example", r"admin@people\.test"), Operator.member
    ),
    "Appendix: useful commands / 10": Expected((r"^id_auth_login_attempts_total \d",)),
    **ABOUT_DATABASES,
    **ABOUT_SECRETS,
    **ABOUT_SIGNING_KEYS,
}
EXPECTED |= deployment.EXPECTED

BASH = [block for block in blocks() if block.language == "bash"]


def test_every_block_has_its_test() -> None:
    assert {block.name for block in BASH} == set(EXPECTED)
    others = [(block.heading, block.language) for block in blocks() if block.language != "bash"]
    others = [found for found in others if found[1]]  # what is for a shell of one's own
    assert others == [("Critical metrics to monitor", "promql"), ("Expected health response", "json")]


@pytest.mark.parametrize("block", BASH, ids=lambda block: block.name)
def test_it_runs_as_printed(operator: Operator, block: Block) -> None:
    expected = EXPECTED[block.name]
    environ = expected.before(operator) or {}
    done = operator.run(block.text, environ)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    for words in expected.says:
        assert re.search(words, said, re.MULTILINE), f"{words!r} is not in:\n{said[-3000:]}"
    expected.after(operator, said)


def test_a_step_that_is_taken_twice_changes_nothing_the_second_time(operator: Operator) -> None:
    name = "SECRET_KEY rotation / 2"
    [block] = [block for block in BASH if block.name == name]
    environ = EXPECTED[name].before(operator) or {}
    operator.run(block.text, environ)
    once = operator.read_secrets()
    again = operator.run(block.text, environ)
    assert "is in front of SECRET_KEY already: nothing changes." in again.stderr
    assert operator.read_secrets() == once
    EXPECTED[name].after(operator, again.stderr)


def test_a_step_that_is_refused_changes_nothing_at_all(operator: Operator) -> None:
    """The reader has forgotten to set KEY, and bash is theirs: it goes on after a line that fails."""
    [block] = [block for block in BASH if block.name == "SECRET_KEY rotation / 2"]
    before = {"SECRET_KEY_FALLBACKS": "a-key-of-before-that-nobody-guesses-3f9a1c2e"}
    operator.write_secrets(before)
    done = operator.run(f"set +euo pipefail\n{block.text}", {})
    said = done.stdout + done.stderr
    assert "SECRET_KEY has no key (none was named). It has" in said
    assert "patched" not in said
    assert "rolled out" not in said, "of the time before, and it would look as if it had been done"
    assert operator.read_secrets() == before
    operator.write_secrets({})


def test_the_metrics_to_monitor_exist(operator: Operator) -> None:
    [block] = [block for block in blocks() if block.language == "promql"]
    text = requests.get(f"http://127.0.0.1:{operator.house.metrics_port}/metrics", timeout=30).text
    # One with labels shows once it has counted something; that it is declared is what can be asked before.
    text += generate_latest(Metrics("account").registry).decode()
    names = set(re.findall(r"id_\w+", block.text))
    assert len(names) == 5
    for name in names:
        assert re.search(rf"^(# TYPE )?{name}\b", text, re.MULTILINE), name


def test_the_health_response_has_the_shape_that_is_printed(operator: Operator) -> None:
    [block] = [block for block in blocks() if block.language == "json"]
    printed, real = json.loads(block.text), requests.get(f"{operator.house.origin}/health", timeout=30).json()
    assert list(printed) == list(real)
    assert real["status"] == printed["status"]
    assert [part["name"] for part in printed["components"]] == [part["name"] for part in real["components"]]
    for part, one in zip(printed["components"], real["components"], strict=True):
        assert set(part) <= set(one), part["name"]
    assert set(printed["services"][0]) == set(real["services"][0])
