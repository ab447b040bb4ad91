"""Ids of clients that somebody chooses: every one that is taken can be reached by pages and by programs."""

import json
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import run_command

URI = "https://billing.test/callback"
PLACES = ("/admin/clients/", "/api/v1/clients/", "/oauth2/register/")


def words_instead_of_ids(app: Flask) -> set[str]:
    """What stands in an address where ids do."""
    found = set()
    for rule in app.url_map.iter_rules():
        for place in PLACES:
            if rule.rule.startswith(place):
                found.add(rule.rule.removeprefix(place).partition("/")[0])
    return {word for word in found if not word.startswith("<")}


def test_the_words_that_are_taken_are_those_in_our_addresses(app: Flask) -> None:
    from services.oidc.flows.clients.ids import TAKEN

    assert words_instead_of_ids(app) == TAKEN


@pytest.mark.parametrize(
    "client_id",
    [
        *("new", "refusals", "resources", "logouts", "registration-tokens", ".", ".."),
        *("", "a b", "a/b", "x" * 101, "app\n", "приложение", None, 7),
    ],
    ids=repr,
)
def test_what_nobody_could_reach_is_refused_wherever_it_is_chosen(
    app: Flask, tmp_path: Path, client_id: object
) -> None:
    from services.oidc.flows.clients import InvalidClient, ensure_client

    file = tmp_path / "clients.json"
    file.write_text(json.dumps([{"client_id": client_id, "name": "Billing", "redirect_uris": [URI]}]))
    result = run_command(app, "clients", "apply", "-f", str(file))
    assert result.exit_code == 1
    assert "1.client_id" in result.output
    with app.app_context(), pytest.raises(InvalidClient) as refused:
        ensure_client(client_id=client_id, name="Billing", redirect_uris=[URI])  # type: ignore[arg-type]
    assert set(refused.value.errors) == {"client_id"}


@pytest.mark.parametrize("client_id", ["new-app", "...", "~", "New", "resources.2"])
def test_what_only_looks_like_that_can_be_taken_and_is_found(
    app: Flask, tmp_path: Path, client_id: str
) -> None:
    from tests.oidc.programs import bearing

    file = tmp_path / "clients.json"
    file.write_text(json.dumps([{"client_id": client_id, "name": "Billing", "redirect_uris": [URI]}]))
    assert run_command(app, "clients", "apply", "-f", str(file)).exit_code == 0
    assert bearing(app, "admin").get(f"/clients/{client_id}").json["client_id"] == client_id
