"""Whatever is sent to the registration endpoint, it registers or refuses."""

import json
from typing import Any

from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from libs.service import parts_of
from services.oidc.protocol import limits
from tests.oidc.registrations import PATH, URI, manage
from tests.oidc.relying_party import http
from tests.pages import ORIGIN

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ("kty", "n", "e", "crv", "x", "y", "kid", "use", "key_ops", "alg", "x5c", "x5t", "ext")
WORDS = st.sampled_from(
    ("RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "sig", "verify", "A" * 43, "A" * 342)
)
KEYS = st.lists(st.dictionaries(st.sampled_from(MEMBERS), WORDS | VALUES, max_size=6), min_size=1, max_size=2)


def refuses_or_registers(app: Flask, metadata: dict[str, Any]) -> None:
    """Never a fault of ours, and what is answered can be read again."""
    body = json.dumps({"redirect_uris": [URI], **metadata})
    limits.forget()
    keys = list(parts_of(app).redis.scan_iter(match="*rl:oidc_register:*"))
    if keys:
        parts_of(app).redis.delete(*keys)
    response = http(app).post(PATH, base_url=ORIGIN, data=body, content_type="application/json")
    assert response.status_code in (201, 400), response.text
    if response.status_code == 201:
        assert manage(app, response.json).status_code == 200


def fuzzed(test: Any) -> Any:
    healthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings_of_hypothesis(max_examples=60, deadline=None, suppress_health_check=healthy)(test)


@fuzzed
@given(data=st.data())
def test_whatever_the_metadata_it_is_registered_or_refused(app: Flask, is_open: None, data: Any) -> None:
    from services.oidc.flows.clients import BY_METADATA

    names = st.sampled_from([*BY_METADATA, "response_types", "software_statement", "scope"])
    refuses_or_registers(app, data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=3)))


@fuzzed
@given(keys=KEYS)
def test_whatever_the_keys_they_are_registered_or_refused(app: Flask, is_open: None, keys: Any) -> None:
    refuses_or_registers(app, {"jwks": {"keys": keys}})
