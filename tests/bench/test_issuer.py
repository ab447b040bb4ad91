"""The issuer's speed on one core, each figure beside something measured in the same run (tests/bench/README.md)."""

import statistics
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from flask import Flask

from tests.bench import load
from tests.bench.conftest import CLIENT_SCOPE, SECONDS, Bench, Issuer
from tests.bench.serving import on_the_workers_core

MOST_PSS_MB = 130

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


def test_what_every_request_goes_through_leaves_most_of_a_bare_flask_view(bench: Bench) -> None:
    found = bench.compare(
        {"bare": bench.sixteen(bench.bare, load.get("/constant")), "reference": bench.reference}
    )
    ratio = found["reference"].rate / found["bare"].rate
    bench.note("a bare Flask view that returns a constant", found["bare"].rate, "/s", 1, "itself", 1)
    bench.note("the reference: such a view in a service", found["reference"].rate, "/s", ratio, "bare", 0.70)
    assert ratio >= 0.70


def test_client_credentials_es256(bench: Bench) -> None:
    ours, plain = bench.ours, bench.plain
    found = bench.compare(
        {
            "reference": bench.reference,
            "client credentials ES256": bench.sixteen(ours.worker, ours.client_credentials()),
            "plain Authlib": bench.sixteen(plain.worker, plain.client_credentials()),
        }
    )
    rate = found["client credentials ES256"].rate
    of_reference, of_plain = rate / found["reference"].rate, rate / found["plain Authlib"].rate
    bench.note("client credentials, ES256", rate, "/s", of_reference, "reference", 0.30)
    bench.note("client credentials, ES256", rate, "/s", of_plain, "plain Authlib", 2)
    assert of_reference >= 0.30
    assert of_plain >= 2


def test_client_credentials_rs256(bench: Bench, oidc_app: Flask) -> None:
    from services.oidc.flows.clients import create_client

    with oidc_app.app_context():
        made = create_client(
            name="Bench RS256",
            scopes=[CLIENT_SCOPE],
            grants=["client_credentials"],
            access_token_signing_alg="RS256",
        )
    ours = Issuer(bench.ours.worker, made.client.client_id, made.secret or "", [])
    key = rsa.generate_private_key(65537, 2048)
    signatures: list[float] = []
    found = bench.compare(
        {"client credentials RS256": bench.sixteen(ours.worker, ours.client_credentials())},
        after_each=lambda: signatures.append(_signatures_a_second(key)),
    )
    rate, raw = found["client credentials RS256"].rate, statistics.median(signatures)
    ratio = rate / raw
    print(f"raw RS256 signatures: {raw:.0f}/s")
    bench.note("client credentials, RS256", rate, "/s", ratio, f"{raw:.0f} raw signatures", 0.30)
    assert ratio >= 0.30


def _signatures_a_second(key: rsa.RSAPrivateKey) -> float:
    claims, count = b"x" * 500, 0
    with on_the_workers_core():
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            key.sign(claims, padding.PKCS1v15(), hashes.SHA256())
            count += 1
        return count / (time.perf_counter() - began)


@pytest.mark.parametrize("endpoint", ["introspection", "userinfo"])
def test_what_is_asked_about_tokens(bench: Bench, endpoint: str) -> None:
    ours, plain = (getattr(issuer, endpoint)() for issuer in (bench.ours, bench.plain))
    found = bench.compare(
        {
            "reference": bench.reference,
            endpoint: bench.sixteen(bench.ours.worker, *ours),
            "plain Authlib": bench.sixteen(bench.plain.worker, *plain),
        }
    )
    rate = found[endpoint].rate
    ratio = rate / found["reference"].rate
    bench.note(endpoint, rate, "/s", ratio, "reference", 0.30)
    of_plain = rate / found["plain Authlib"].rate
    bench.note(endpoint, rate, "/s", of_plain, "plain Authlib", 1)
    assert ratio >= 0.30
    assert of_plain >= 1


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/jwks.json"])
def test_prepared_documents(bench: Bench, path: str) -> None:
    found = bench.compare(
        {"reference": bench.reference, path: bench.sixteen(bench.ours.worker, load.get(path))}
    )
    ratio = found[path].rate / found["reference"].rate
    bench.note(path, found[path].rate, "/s", ratio, "reference", 0.95)
    assert ratio >= 0.95


def test_code_flows_of_eight_clients(bench: Bench) -> None:
    found = bench.compare(
        {
            "code flow": (bench.ours.worker, [bench.ours.code_flow(cookie) for cookie in bench.ours.cookies]),
            "plain": (bench.plain.worker, [bench.plain.code_flow(cookie) for cookie in bench.plain.cookies]),
        }
    )
    rate = found["code flow"].rate
    ratio = rate / found["plain"].rate
    bench.note("code + PKCE, signed in, 8 clients", rate, "flows/s", ratio, "plain Authlib", 2)
    assert ratio >= 2


def test_a_code_flow_of_one_client(bench: Bench) -> None:
    found = bench.compare(
        {
            "code flow": (bench.ours.worker, [bench.ours.code_flow(bench.ours.cookies[0])]),
            "plain": (bench.plain.worker, [bench.plain.code_flow(bench.plain.cookies[0])]),
        }
    )
    ratio = found["code flow"].p50_ms / found["plain"].p50_ms
    bench.note("the same, one client, p50", found["code flow"].p50_ms, "ms", ratio, "plain Authlib", 0.5)
    assert ratio <= 0.5


def test_a_worker_stays_small(bench: Bench) -> None:
    """After whatever ran before this."""
    pss_mb = bench.ours.worker.pss_mb()
    print(f"{pss_mb:.0f} MB PSS")
    bench.note("memory of a worker (PSS)", pss_mb, "MB", pss_mb / MOST_PSS_MB, f"{MOST_PSS_MB} MB", 1)
    assert pss_mb < MOST_PSS_MB
