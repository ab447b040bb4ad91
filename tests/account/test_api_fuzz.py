"""The API under inputs that nobody thought of: what it answers is what it documents, and never a 500."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.conftest import Person
from tests.account.programs import Program
from tests.api_fuzz import fuzz_everything

OPERATIONS = 43
"""A floor, so that a document that lost its operations does not pass for a sound one."""


# The fuzzer's own strategies draw from `random`; what is tried is derandomised all the same.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_operation_keeps_to_its_document(
    app: Flask,
    make_person: Callable[..., Person],
    program_of: Callable[..., Program],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = program_of(make_person(roles=["admin"]), "me users:read users:write").token
    sub = make_person().sub
    tried = fuzz_everything(app, token=token, known=lambda: {"sub": sub}, monkeypatch=monkeypatch)
    assert tried >= OPERATIONS
