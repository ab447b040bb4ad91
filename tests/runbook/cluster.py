"""What a cluster answers to kubectl about its secret, its names and its database, where no service is asked."""

import base64
import json
import os
import sys
from collections.abc import Sequence

from tests.runbook.commands import ask


def answer(arguments: list[str], secrets: dict[str, str]) -> int | None:
    """Do what is asked, and return the code; None where it is a service's to answer, by its Deployment's name.

    `secrets` is what patches have made of the suite's secret so far.
    """
    if arguments[:3] == ["patch", "secret", "id-service-secrets"] and "--type=merge" in arguments:
        assert "--patch-file=/dev/stdin" in arguments, (
            "a secret on a command line is in every list of processes"
        )
        secrets.update(json.load(sys.stdin)["stringData"])
        with open(os.environ["SECRETS"], "w") as file:
            json.dump(secrets, file)
        return 0
    if arguments[:3] == ["get", "secret", "id-service-secrets"]:
        name = arguments[-1].removeprefix("jsonpath={.data.").removesuffix("}")
        value = secrets.get(name, _suite().get(name, ""))
        print(base64.b64encode(value.encode()).decode(), end="")
        return 0
    if arguments[:2] == ["get", "deployments"]:
        print("deployment.apps/id-oidc")
        return 0
    if arguments[:2] == ["get", "job"]:
        print("SuccessCriteriaMet Complete")
        return 0
    if arguments[:2] == ["get", "pods"]:
        print("pod/id-account-0")
        return 0
    if arguments[:3] == ["exec", "-i", "postgres-0"]:
        return _psql(arguments[arguments.index("--") + 1 :])
    if arguments[0] == "debug":
        assert arguments[1] == "pod/id-account-0"
        assert "--container=account" in arguments
        return ask(os.environ["COMMANDS"], arguments[arguments.index("--") + 2 :])
    if arguments[:2] == ["delete", "pod"]:
        return 0
    if arguments[:3] == ["rollout", "restart", "deployment"]:
        arguments[2] = "deployment/id-oidc"  # all of them; one of them tells enough
    arguments[:] = [word.replace("deployment.apps/", "deployment/") for word in arguments]
    return None


def _suite() -> dict[str, str]:
    """What the suite in DATA_DIR was started with."""
    with open(os.environ["DATA_DIR"] + "/environment") as file:
        return dict(line.strip().split("=", 1) for line in file)


def _psql(arguments: Sequence[str]) -> int:
    """What `psql -U postgres` says to the PostgreSQL of the suite: `-c SQL`, or SQL from stdin."""
    import psycopg2

    assert arguments[:3] == ["psql", "-U", "postgres"], arguments
    text = arguments[arguments.index("-c") + 1] if "-c" in arguments else sys.stdin.read()
    connection = psycopg2.connect(_suite()["ACCOUNT_DATABASE_URL"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(text)
        for row in cursor.fetchall() if cursor.description else []:
            print("|".join(map(str, row)))
    connection.close()
    return 0
