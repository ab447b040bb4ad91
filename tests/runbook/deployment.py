"""Blocks about deploying and scaling. A line that only a cluster could run says so, and test_kubectl.py reads it."""

from tests.runbook.conftest import Operator
from tests.runbook.expected import Expected

NO_CLUSTER = r"^no cluster here: kubectl "
MIGRATED = tuple(rf"^job\.batch/id-{service}-migrate created" for service in ("account", "oidc"))
FOUR_TIMES = r"(^.*Complete\n){4}"
LOGGED = r'^\[pod/id-account-0/account\] \S+Z \{.*"service": "account"'
ROLLED_OUT = r"deployment id-account successfully rolled out"


def what_is_filled_in(operator: Operator) -> dict[str, str]:
    files = {"FILLED_IN_SECRET": "filled-in.yaml", "STAGING_SECRET": "staging.yaml"}
    return files | {"CERTIFICATE": "tls.crt", "CERTIFICATE_KEY": "tls.key"}


def revisions(operator: Operator) -> dict[str, str]:
    return {"REVISION": "7", "WORKER_REVISION": "5"}


EXPECTED = {
    "Running migrations / 1": Expected((*MIGRATED, FOUR_TIMES)),
    "Running migrations / 2": Expected((NO_CLUSTER + "get jobs", NO_CLUSTER + "logs job/id-oidc-migrate")),
    "Running migrations / 3": Expected((r"^\d{4}\w* \(head\)",)),
    "A release / 1": Expected(
        (r"production/oidc/.*newTag: 1", r"jobs\.yaml.*-account:1", r"restored\.yaml.*:1")
    ),
    "A release / 2": Expected((NO_CLUSTER + "apply -k", ROLLED_OUT)),
    "A release / 3": Expected((NO_CLUSTER + "apply -k", r"id-oidc-worker successfully rolled out")),
    "The first time / 1": Expected(
        (
            NO_CLUSTER + "create -f filled-in",
            NO_CLUSTER + "create secret tls id-gateway-tls",
            *MIGRATED,
            FOUR_TIMES,
            NO_CLUSTER + "apply",
            ROLLED_OUT,
            r"for first\.admin@example\.com, and mailed the link",
        ),
        what_is_filled_in,
    ),
    "The first time / 2": Expected(
        (NO_CLUSTER + "create -f staging", NO_CLUSTER + "rollout status statefulset/redis"), what_is_filled_in
    ),
    "Rolling restart / 1": Expected((ROLLED_OUT,)),
    "Rollback / 1": Expected((NO_CLUSTER + "get replicasets .*-l component=oidc-worker",)),
    "Rollback / 2": Expected((NO_CLUSTER + "rollout undo .*--to-revision=5", "rolled out"), revisions),
    "Manual scaling / 1": Expected((NO_CLUSTER + "get hpa",)),
    "Manual scaling / 2": Expected((NO_CLUSTER + "scale deployment/id-account",)),
    "Manual scaling / 3": Expected((NO_CLUSTER + "scale deployment/id-account-worker",)),
    "Manual scaling / 4": Expected((NO_CLUSTER + "patch hpa id-account",)),
    "Manual scaling / 5": Expected((NO_CLUSTER + "scale deployment -n", ROLLED_OUT)),
    "Connection budget / 1": Expected((r"Active connections: \d+ of \d+",)),
    "Appendix: useful commands / 1": Expected((LOGGED,)),
    "Appendix: useful commands / 2": Expected((LOGGED,)),
    "Appendix: useful commands / 11": Expected((r'"failing":\[\]',)),
    "Appendix: useful commands / 12": Expected((r".",)),
    "Appendix: useful commands / 13": Expected((NO_CLUSTER + "describe pod",)),
    "Appendix: useful commands / 14": Expected((NO_CLUSTER + "top pods", NO_CLUSTER + "get events")),
}
