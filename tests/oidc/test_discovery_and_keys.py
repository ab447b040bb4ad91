"""What clients read first: metadata that is true, and public keys that are only public."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc import discovery
from flask import Flask
from joserfc.jwk import KeySet
from werkzeug.test import TestResponse

from tests.conftest import run_command
from tests.oidc.relying_party import http
from tests.pages import ORIGIN

PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


def get(app: Flask, path: str, **headers: str) -> TestResponse:
    return http(app).get(path, base_url=ORIGIN, headers=headers)


def test_the_metadata_holds_under_both_specifications(app: Flask) -> None:
    openid, oauth = (get(app, path).json for path in PATHS)
    assert openid == oauth
    discovery.OpenIDProviderMetadata(openid).validate()
    AuthorizationServerMetadata(oauth).validate()
    assert openid["issuer"] == ORIGIN
    assert openid["id_token_signing_alg_values_supported"] == ["RS256", "ES256", "PS256", "EdDSA"]
    assert openid["code_challenge_methods_supported"] == ["S256"]
    assert openid["authorization_response_iss_parameter_supported"] is True


def test_logout_stands_in_the_metadata(app: Flask) -> None:
    openid = get(app, PATHS[0]).json
    for channel in ("backchannel", "frontchannel"):
        assert openid[f"{channel}_logout_supported"] is True
        assert openid[f"{channel}_logout_session_supported"] is True
    assert openid["end_session_endpoint"] == f"{ORIGIN}/oauth2/logout"


def test_every_endpoint_named_is_there_under_the_issuer(app: Flask) -> None:
    metadata = get(app, PATHS[0]).json
    routes = {str(rule) for rule in app.url_map.iter_rules()}
    for name, address in metadata.items():
        if name.endswith(("_endpoint", "jwks_uri")):
            assert address.startswith(ORIGIN + "/")
            assert address.removeprefix(ORIGIN) in routes, name


def test_the_metadata_does_not_follow_the_host_header(app: Flask) -> None:
    answer = http(app).get(PATHS[0], base_url="http://evil.test")
    assert answer.json["issuer"] == ORIGIN


@pytest.mark.parametrize("path", [*PATHS, "/.well-known/jwks.json"])
def test_documents_may_be_cached_and_are_not_sent_twice(app: Flask, path: str) -> None:
    first = get(app, path)
    assert first.headers["Cache-Control"] == "public, max-age=900"
    assert "Set-Cookie" not in first.headers
    again = get(app, path, **{"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


def test_the_jwks_holds_public_halves_of_both_algorithms_only(app: Flask) -> None:
    document = get(app, "/.well-known/jwks.json").json
    assert {"ES256", "RS256"} <= {key["alg"] for key in document["keys"]}
    for key in document["keys"]:
        assert key["use"] == "sig"
        assert set(key) <= {"kid", "kty", "alg", "use", "n", "e", "crv", "x", "y"}
    assert len(KeySet.import_key_set(document).keys) == len(document["keys"])


def test_private_keys_are_sealed_in_the_database(app: Flask) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import SigningKey

    get(app, "/.well-known/jwks.json")
    with app.app_context():
        for row in db.session.scalars(sa.select(SigningKey).where(SigningKey.state.in_(("next", "current")))):
            assert row.private_key_sealed.startswith("data1:")
            assert "PRIVATE" not in row.private_key_sealed
            text = json.dumps(row.public_jwk)
            assert '"d"' not in text


def test_staff_list_keys_and_health_counts_them(app: Flask) -> None:
    get(app, "/.well-known/jwks.json")
    rows = json.loads(run_command(app, "keys", "list", "--json").output)
    assert {"ES256", "RS256"} <= {row["alg"] for row in rows if row["state"] == "current"}
    assert "private" not in json.dumps(rows)
    report = get(app, "/health").json
    component = next(row for row in report["components"] if row["name"] == "oidc_keys")
    assert component["status"] == "healthy"
    assert component["details"]["key_count"] >= 2


def test_keys_survive_a_database_that_is_away_for_a_moment(
    app: Flask, monkeypatch: pytest.MonkeyPatch, log_text: Callable[[], str]
) -> None:
    from services.oidc.protocol import keys as module

    get(app, "/.well-known/jwks.json")

    def away(_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(module.db, "fetch_all", away)
    time.sleep(1.05)
    assert get(app, "/.well-known/jwks.json").status_code == 200
    assert "keys_not_read" in log_text()
