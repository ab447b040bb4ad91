"""Sector identifiers: the document must name every redirect URI, whenever either of them changes."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import run_command
from tests.oidc.relying_party import RelyingParty
from tests.oidc.signing_party import ClientSite

ONE, TWO, THREE = "https://one.test/cb", "https://two.test/cb", "https://three.test/cb"
Make = Callable[..., RelyingParty]


@pytest.fixture
def pairwise(make_client: Make, site: ClientSite) -> RelyingParty:
    """A client of two hosts, which its sector joins."""
    site.answers["/sector"] = [ONE, TWO]
    return make_client(
        redirect_uris=[ONE, TWO], subject_type="pairwise", sector_identifier_uri=site.url("/sector")
    )


def test_redirect_uris_of_several_hosts_are_joined_by_the_document(
    pairwise: RelyingParty, site: ClientSite
) -> None:
    assert site.asked == ["/sector"]


@pytest.mark.parametrize(
    "document",
    [[ONE], [], {"redirect_uris": [ONE, TWO]}, [1], b"<html>", b"[" * 100_000, b" " * 100_000, 404, 500, 302],
    ids=["one is missing", "empty", "object", "numbers", "html", "deep", "large", "404", "500", "redirect"],
)
def test_a_document_that_does_not_name_them_all_is_refused(
    app: Flask, site: ClientSite, document: Any
) -> None:
    site.answers["/sector"] = document
    sector = ("--sector-identifier-uri", site.url("/sector"))
    uris = ("--redirect-uri", ONE, "--redirect-uri", TWO)
    result = run_command(app, "clients", "create", "--name", "Two", *uris, *sector)
    assert result.exit_code == 1
    assert "sector_identifier_uri:" in result.output
    assert "/elsewhere" not in site.asked


def test_an_address_of_our_own_network_is_never_asked(app: Flask, site: ClientSite) -> None:
    site.answers["/sector"] = [ONE]
    there = site.url("").replace("127.0.0.1", "localhost") + "/sector"  # not the name that is allowed
    result = run_command(
        app, "clients", "create", "--name", "X", "--redirect-uri", ONE, "--sector-identifier-uri", there
    )
    assert result.exit_code == 1
    assert site.asked == []


def test_a_change_of_redirect_uris_asks_the_document_again(
    app: Flask, pairwise: RelyingParty, site: ClientSite
) -> None:
    update = ("clients", "update", pairwise.client_id)
    assert run_command(app, *update, "--redirect-uri", THREE).exit_code == 1
    site.answers["/sector"] = [ONE, TWO, THREE]
    assert run_command(app, *update, "--redirect-uri", THREE).exit_code == 0
    site.answers["/sector"] = 500
    asked = len(site.asked)
    assert run_command(app, *update, "--name", "Another").exit_code == 0, "which has nothing to do with it"
    assert len(site.asked) == asked
    assert run_command(app, *update, "--unset", "sector-identifier-uri").exit_code == 0


def test_a_sector_that_changes_while_it_is_fetched_is_not_taken_for_another(
    app: Flask, pairwise: RelyingParty, site: ClientSite
) -> None:
    from services.oidc.extensions import db
    from services.oidc.flows.clients import InvalidClient, changing, update_client
    from services.oidc.models import Client

    fetch = changing.fetch_sector_for

    def meanwhile(client_id: str, changes: Any) -> Any:
        found = fetch(client_id, changes)
        with db.transaction() as session:
            session.get_one(Client, client_id).sector_identifier_uri = site.url("/other")
        return found

    changing.fetch_sector_for = meanwhile
    try:
        with app.app_context(), pytest.raises(InvalidClient, match="invalid-client-settings") as refused:
            update_client(pairwise.client_id, redirect_uris=[TWO])
    finally:
        changing.fetch_sector_for = fetch
    assert "sector_identifier_uri" in refused.value.errors
