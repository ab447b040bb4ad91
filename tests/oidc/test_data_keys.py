"""Data keys take turns in oidc: signing keys sign on, and pairwise subjects stay who they are."""

import json
from collections.abc import Callable

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import run_command
from tests.data_keys import rotating, rows_by_kid
from tests.oidc.key_tools import jwks, kid_of, rows
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_keys import start_process
from tests.oidc.test_pairwise import pairwise, sub_of
from tests.pages import Browser

pytestmark = pytest.mark.usefixtures("no_keys")


def start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has opened nothing yet."""
    start_process()
    monkeypatch.setattr("services.oidc.flows.pairwise._known", None)


def test_signing_and_pairwise_subjects_outlive_the_key_that_sealed_them(
    app: Flask,
    browser: Browser,
    person: Session,
    make_client: Callable[..., RelyingParty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = parts_of(app)
    client = pairwise(make_client, "one.test")
    before = client.tokens(browser)
    signs, published = kid_of(app, "RS256", "current"), jwks(app)
    with rotating(app) as rings:
        parts.data_keys = rings["both"]
        start_anew(monkeypatch)
        assert sub_of(client.tokens(browser)["id_token"]) == sub_of(before["id_token"])
        told = json.loads(run_command(app, "secrets", "reencrypt", "--json").stdout)
        assert (told["left"], told["may_go"]) == (0, list(rings["old"].keys))
        assert all(row.private_key_sealed.startswith("new:") for row in rows(app) if row.private_key_sealed)
        parts.data_keys = rings["new"]
        start_anew(monkeypatch)
        assert sub_of(client.tokens(browser)["id_token"]) == sub_of(before["id_token"])
        refreshed = client.refresh(before["refresh_token"])
        assert refreshed.status_code == 200, "its successor is not sealed under data keys"
        assert (kid_of(app, "RS256", "current"), jwks(app)) == (signs, published)
        assert set(rows_by_kid(app)) == {"new"}
    start_anew(monkeypatch)
    assert sub_of(client.tokens(browser)["id_token"]) == sub_of(before["id_token"])
