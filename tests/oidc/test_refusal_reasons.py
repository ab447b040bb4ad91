"""Why a request was refused: exactly, for staff; the client reads the standard's error code and no more."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from services.oidc.flows import refusals
from tests.oidc.relying_party import RelyingParty, basic
from tests.pages import Browser


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What staff were told, newest last."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(refusals, "remember", lambda **values: found.append(values))
    return found


def test_a_code_that_is_not_taken(
    browser: Browser, person: Session, client: RelyingParty, told: list[dict[str, Any]]
) -> None:
    code = client.code(browser)
    client.redeem(code, redirect_uri="https://rp.test/callbacks")
    assert told[-1] == {
        "endpoint": "token",
        "client_id": client.client_id,
        "error": "invalid_grant",
        "description": "Invalid 'redirect_uri' in request.",
        "detail": "redirect_uri differs from the one of the request at character 25",
    }
    client.redeem(code, code_verifier="b" * 43)
    assert told[-1]["detail"] == "code_verifier does not match"
    client.redeem(code, code_verifier=None)
    assert told[-1]["detail"] == "code_verifier is missing"
    client.redeem(code)
    client.redeem(code)
    assert told[-1]["detail"].startswith("the code was used before")
    client.redeem("nonsense")
    assert told[-1]["detail"] == "nobody knows the code"


def test_a_refresh_token_that_is_not_taken(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, told: list[dict[str, Any]]
) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import RefreshToken

    def change(token: str, **values: Any) -> None:
        with app.app_context(), db.transaction() as session:
            session.execute(
                sa.update(RefreshToken).where(RefreshToken.digest == digest(token)).values(**values)
            )

    idle = client.tokens(browser)["refresh_token"]
    change(idle, expires_at=utcnow() - timedelta(days=3, hours=1))
    answer = client.refresh(idle)
    assert told[-1]["detail"] == "refresh token expired (idle) 3 days ago"
    assert answer.json == {"error": "invalid_grant"}
    spent = client.tokens(browser)["refresh_token"]
    client.refresh(spent)
    change(spent, used_at=utcnow() - timedelta(minutes=2))
    client.refresh(spent)
    assert told[-1]["detail"] == "the refresh token was used 2 minutes ago: its family has ended"
    client.refresh(spent)
    assert told[-1]["detail"] == "its grant ended a moment ago (refresh_token_theft)"


def test_a_client_that_does_not_prove_itself(
    client: RelyingParty, make_client: Callable[..., RelyingParty], told: list[dict[str, Any]]
) -> None:
    for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"):
        form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
        client.post(path, form, headers={"Authorization": basic(client.client_id, "wrong")})
        assert told[-1]["detail"] == "client_secret_basic: what was sent to prove the client is wrong"
        assert told[-1]["endpoint"] == path.rpartition("/")[2]
        client.post(path, form, headers={"Authorization": basic("nobody", "wrong")})
        assert (told[-1]["client_id"], told[-1]["detail"]) == (None, "no enabled client has this client_id")
    poster = make_client(auth_method="client_secret_post")
    poster.post(
        "/oauth2/token", form, credentials=False, headers={"Authorization": basic(poster.client_id, "x")}
    )
    assert "wrong" in told[-1]["detail"]


def test_what_works_is_no_refusal(
    browser: Browser, person: Session, client: RelyingParty, told: list[dict[str, Any]]
) -> None:
    client.refresh(client.tokens(browser)["refresh_token"])
    assert told == []
