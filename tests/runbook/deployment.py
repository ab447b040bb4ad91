"""Blocks about deploying and scaling. A line that only a cluster could run says so, and test_kubectl.py reads it."""

from tests.runbook.conftest import Operator
from tests.runbook.expected import Expected

NO_CLUSTER = r"^no cluster here: kubectl "
MIGRATED = tuple(rf"^job\.batch/id-{service}-migrate created" for service in ("account", "oidc"))
LOGGED = r'^\[pod/id-account-0/account\] \S+Z \{.*"service": "account"'
ROLLED_OUT = r"deployment id-account successfully rolled out"


def a_filled_in_secret(operator: Operator) -> dict[str, str]:
    return {"FILLED_IN_SECRET": "filled-in.yaml"}


EXPECTED = {
    "Running migrations / 1": Expected((*MIGRATED, NO_CLUSTER + "wait")),
    "Running migrations / 2": Expected((NO_CLUSTER + "get jobs", NO_CLUSTER + "logs job/id-oidc-migrate")),
    "Running migrations / 3": Expected((r"^\d{4}\w* \(head\)",)),
    "A release / 1": Expected((NO_CLUSTER + "apply -k", ROLLED_OUT)),
    "A release / 2": Expected((NO_CLUSTER + "apply -k", r"id-oidc-worker successfully rolled out")),
    "The first time / 1": Expected(
        (*MIGRATED, NO_CLUSTER + "apply", ROLLED_OUT, r"first\.admin@example\.com"), a_filled_in_secret
    ),
    "Rolling restart / 1": Expected((ROLLED_OUT,)),
    "Rollback / 1": Expected((NO_CLUSTER + "rollout history", NO_CLUSTER + "rollout undo", "rolled out")),
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
