"""clients apply: a file says what clients are; applied twice it changes nothing, with a mistake nothing at all."""

import json
import threading
import uuid
from typing import Any

import pytest
from flask import Flask

from libs.guard.single_use import digest
from tests.conftest import run_command
from tests.oidc.signing_party import ClientSite

SECRET = "a-random-secret-of-forty-characters-4711"


@pytest.fixture
def client_id() -> str:
    return f"billing-{uuid.uuid4().hex[:8]}"


def apply(app: Flask, text: str, *more: str) -> list[dict[str, Any]]:
    result = run_command(app, "clients", "apply", "-f", "-", "--json", *more, input=text)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def refused(app: Flask, text: str) -> str:
    result = run_command(app, "clients", "apply", "-f", "-", input=text)
    assert result.exit_code == 1, result.output
    return result.output


def shown(app: Flask, client_id: str) -> dict[str, Any]:
    return json.loads(run_command(app, "clients", "show", client_id, "--json").output)


def is_right(app: Flask, client_id: str, secret: str) -> bool:
    return run_command(app, "clients", "verify-secret", client_id, input=secret + "\n").exit_code == 0


def exists(app: Flask, client_id: str) -> bool:
    return run_command(app, "clients", "show", client_id).exit_code == 0


def billing(client_id: str, more: str = "") -> str:
    return f"""
clients:
  - client_id: {client_id}
    name: Billing
    redirect_uris: [https://billing.test/cb]
    scopes: openid email
    grant_types: [authorization_code, refresh_token, device_code]
    require_pkce: true
{more}
"""


def test_a_file_makes_a_client_whose_secret_is_printed_once(app: Flask, client_id: str) -> None:
    (made,) = apply(app, billing(client_id))
    assert made["action"] == "created"
    assert is_right(app, client_id, made["client_secret"])
    found = shown(app, client_id)
    assert found["scopes"] == ["openid", "email"]
    assert found["grants"][2].endswith(":device_code")
    (again,) = apply(app, billing(client_id))
    assert again == {"client_id": client_id, "action": "unchanged", "changes": {}}
    assert shown(app, client_id)["version"] == 1


def test_what_is_named_changes_and_what_is_not_stays(app: Flask, client_id: str) -> None:
    apply(
        app,
        billing(client_id, "    logo_uri: https://billing.test/logo.png\n    contacts: [ops@billing.test]"),
    )
    other = json.loads(
        run_command(
            app, "clients", "create", "--name", "O", "--redirect-uri", "https://o.test/", "--json"
        ).output
    )
    text = json.dumps([{"client_id": client_id, "client_name": "Invoices", "logo_uri": None}])
    (changed,) = apply(app, text)
    assert changed["changes"] == {
        "name": {"before": "Billing", "after": "Invoices"},
        "logo_uri": {"before": "https://billing.test/logo.png", "after": None},
    }
    found = shown(app, client_id)
    assert found["contacts"] == ["ops@billing.test"]
    assert shown(app, other["client_id"])["name"] == "O"


def test_a_dry_run_prints_the_differences_and_does_nothing(app: Flask, client_id: str) -> None:
    (row,) = apply(app, billing(client_id), "--dry-run")
    assert row["action"] == "created"
    assert "client_secret" not in row
    assert not exists(app, client_id)
    apply(app, billing(client_id))
    result = run_command(
        app, "clients", "apply", "-f", "-", "--dry-run", input=billing(client_id).replace("Billing", "Bills")
    )
    assert "not done" in result.output
    assert "name: Billing → Bills" in result.output
    assert shown(app, client_id)["name"] == "Billing"


def test_a_mistake_in_one_client_leaves_all_of_them_alone(app: Flask, client_id: str) -> None:
    good, bad = client_id, client_id + "-bad"
    known = client_id + "-known"
    apply(app, json.dumps([{"client_id": known, "name": "Known", "redirect_uris": ["https://k.test/"]}]))
    text = json.dumps(
        [
            {"client_id": good, "name": "Good", "redirect_uris": ["https://g.test/"]},
            {"client_id": bad, "name": "Bad", "redirect_uris": ["http://b.example/"], "scopes": ["root"]},
            {"client_id": known, "name": "", "redirect_uris": ["javascript:alert(1)"]},
        ]
    )
    output = refused(app, text)
    assert f"{bad}.redirect_uris:" in output
    assert f"{known}.redirect_uris:" in output
    assert f"{known}.name:" in output
    assert not exists(app, good)
    assert shown(app, known)["name"] == "Known"


def test_a_secret_comes_by_its_hash_or_from_the_environment(
    app: Flask, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_SECRET", SECRET)
    by_name = billing(client_id, "    secret_from_env: BILLING_SECRET")
    (made,) = apply(app, by_name)
    assert "client_secret" not in made
    assert is_right(app, client_id, SECRET)
    assert apply(app, by_name)[0]["action"] == "unchanged"
    other = SECRET.replace("4711", "4712")
    (changed,) = apply(app, billing(client_id, f"    secret_sha256: {digest(other)}"))
    assert changed["action"] == "updated"
    assert SECRET not in json.dumps(changed)
    assert is_right(app, client_id, SECRET), "for the overlap"
    assert is_right(app, client_id, other)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("secret: plain", "There is no such setting"),
        ("client_secret: plain", "There is no such setting"),
        ("secret_from_env: NOBODY_SET_THIS", "secret_from_env: The environment must hold"),
        ("secret_from_env: SHORT", "secret_from_env: The environment must hold"),
        ("secret_sha256: plain", "secret_sha256: The SHA-256"),
        ("auth_method: none\n    secret_sha256: " + "a" * 64, "secret: This client has no secret"),
        ("client_name: Twice", "client_name: This is name"),
        ("is_first_party: sometimes", "is_first_party: True or false"),
        ("software_version: 1.0", "software_version: A text, in quotes"),
        ("contacts: ops@billing.test", "contacts: A list of texts"),
        ("default_max_age: 1h", "default_max_age: A number of seconds"),
        ("jwks: [1]", "jwks: An object of JSON"),
        ('jwks: {keys: ["\\0"]}', "jwks: An object of JSON"),
        ("version: 3", "version: There is no such setting"),
        ("registration_token_digest: x", "There is no such setting"),
    ],
)
def test_a_line_that_cannot_be_is_named(
    app: Flask, client_id: str, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.setenv("SHORT", "short")
    output = refused(app, billing(client_id, f"    {line}"))
    assert f"{client_id}." in output
    assert words in output
    assert not exists(app, client_id)


BOMB = "a: &a [x, x]\n" + "\n".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "- client_id: one\n  client_id: two",
        '[{"client_id": "one", "client_id": "two"}]',
        "- !!python/object/apply:os.system [true]",
        "- !!binary aGk=",
        "[" * 50_000,
        "- " * 5_000,
        "- client_id: x\n  ? [a]\n  : b",
        "- client_id: x\n  1: b",
        "just words",
        "clients: 7",
        "clients: [7]",
        "- name: without an id",
        "- client_id: a b",
        "- client_id: one\n- client_id: one",
        "\x00",
        "x" * 1_100_000,
        "{",
        "clients: []\nmore: 1",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_list_of_clients_is_refused_in_bounded_time(app: Flask, text: str) -> None:
    assert refused(app, text)


def test_an_empty_list_changes_nothing(app: Flask) -> None:
    assert apply(app, "clients: []") == []


def test_a_file_that_is_not_there_is_a_sentence(app: Flask) -> None:
    result = run_command(app, "clients", "apply", "-f", "/nowhere/clients.yaml")
    assert result.exit_code == 1
    assert "cannot be read" in result.output


def test_a_change_to_confidential_prints_the_secret_it_makes(app: Flask, client_id: str) -> None:
    apply(app, billing(client_id, "    auth_method: none"))
    (changed,) = apply(app, billing(client_id, "    auth_method: client_secret_basic"))
    assert is_right(app, client_id, changed["client_secret"])
    assert "client_secret" not in apply(app, billing(client_id))[0]


def test_sectors_are_checked_for_files_too(app: Flask, client_id: str, site: ClientSite) -> None:
    sector = f"    sector_identifier_uri: {site.url('/sector')}"
    site.answers["/sector"] = ["https://elsewhere.test/cb"]
    assert f"{client_id}.sector_identifier_uri:" in refused(app, billing(client_id, sector))
    site.answers["/sector"] = ["https://billing.test/cb"]
    assert apply(app, billing(client_id, sector))[0]["action"] == "created"


def test_files_applied_side_by_side_make_each_client_once(app: Flask, client_id: str) -> None:
    from services.oidc.flows.clients.applying import apply_document

    ids = [f"{client_id}-{number}" for number in range(3)]
    barrier = threading.Barrier(4)
    actions: list[str] = []

    def run(number: int) -> None:
        order = ids[number % 3 :] + ids[: number % 3]
        document = [{"client_id": one, "name": one, "redirect_uris": ["https://x.test/"]} for one in order]
        barrier.wait()
        with app.app_context():
            actions.extend(one.action for one in apply_document(document))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(actions) == ["created"] * 3 + ["unchanged"] * 9
