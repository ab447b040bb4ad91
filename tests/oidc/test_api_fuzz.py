"""The issuer's API under inputs that nobody thought of: what it answers is what it documents, and never a 500."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from tests.api_fuzz import fuzz_everything
from tests.oidc.programs import bearing
from tests.oidc.relying_party import RelyingParty

OPERATIONS = 18
"""A floor, so that a document that lost its operations does not pass for a sound one."""


# The fuzzer's own strategies draw from `random`; what is tried is derandomised all the same.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_operation_keeps_to_its_document(
    app: Flask, make_client: Callable[..., RelyingParty], monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.flows.registration_tokens import create_registration_token
    from services.oidc.flows.resources.changing import create_resource

    def known() -> dict[str, str]:
        word = uuid.uuid4().hex
        with app.app_context():
            made = create_resource(identifier=f"https://{word}.test", name="Orders", scopes={word: "x"})
            token, _ = create_registration_token(note="Partner")
            ids = {"resource_id": str(made.id), "token_id": str(token.id)}
        return {"client_id": make_client().client_id, **ids}

    tried = fuzz_everything(app, token=bearing(app, "admin").token, known=known, monkeypatch=monkeypatch)
    assert tried >= OPERATIONS
