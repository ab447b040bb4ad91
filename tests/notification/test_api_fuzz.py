"""The API under inputs that nobody thought of: what it answers is what it documents, and never a 500."""

import pytest
from flask import Flask

from tests.api_fuzz import fuzz_everything
from tests.notification.conftest import ask
from tests.notification.programs import bearing

OPERATIONS = 5
"""A floor, so that a document that lost its operations does not pass for a sound one."""


# The fuzzer's own strategies draw from `random`; what is tried is derandomised all the same.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_operation_keeps_to_its_document(
    app: Flask, oidc_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = bearing(app, oidc_app, "admin").token
    known = lambda: {"message_id": str(ask(app).id)}  # noqa: E731
    assert fuzz_everything(app, token=token, known=known, monkeypatch=monkeypatch) >= OPERATIONS
