"""The API under inputs that nobody thought of: what it answers is what it documents, and never a 500."""

import pytest
from flask import Flask

from tests.api_fuzz import fuzz_everything
from tests.onboarding import steps
from tests.onboarding.programs import Programs

OPERATIONS = 22
"""A floor, so that a document that lost its operations does not pass for a sound one."""


# The fuzzer's own strategies draw from `random`; what is tried is derandomised all the same.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_operation_keeps_to_its_document(
    onboarding_app: Flask, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known() -> dict[str, str]:
        email = steps.apply(onboarding_app)
        steps.confirm(onboarding_app, email)
        return {
            "application_id": steps.facts(onboarding_app, email)["id"],
            "invitation_id": steps.invite(onboarding_app, uses="3")["id"],
        }

    token = programs.of_person("admin").token
    tried = fuzz_everything(onboarding_app, token=token, known=known, monkeypatch=monkeypatch)
    assert tried >= OPERATIONS
