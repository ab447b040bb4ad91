"""What a cluster answers to kubectl about its secret, names, logs and database, where no service is asked."""

import base64
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence

from tests.runbook.commands import ask

THE_SECRET = ["secret", "id-service-secrets"]
MOMENT = "2026-01-16T09:00:00.000000000Z"


def load(what: str) -> dict[str, str]:
    """SECRETS is what patches have made of the suite's secret so far, RUNNING what pods began with."""
    try:
        with open(os.environ[what]) as file:
            found: dict[str, str] = json.load(file)
            return found
    except FileNotFoundError:
        return {}


def store(what: str, secrets: Mapping[str, str]) -> None:
    with open(os.environ[what], "w") as file:
        json.dump(dict(secrets), file)


def answer(arguments: list[str], secrets: dict[str, str]) -> int | None:
    """Do what is asked, and return the code; None where it is a service's to answer, by its Deployment's name."""
    if arguments[:3] == ["patch", *THE_SECRET]:
        assert "--patch-file=/dev/stdin" in arguments, (
            "a secret on a command line is in every list of processes"
        )
        store("SECRETS", secrets | _patched(json.load(sys.stdin)))
        print("secret/id-service-secrets patched")
        return 0
    if arguments[:2] == ["get", "secret"]:
        assert arguments[2] == THE_SECRET[1] or arguments[2].startswith("id-earlier-keys-")
        known = _suite() | secrets
        path = arguments[-1].removeprefix("jsonpath=")
        assert arguments[-1] != path
        print(re.sub(r"{\.data\.(\w+)}", lambda found: _encoded(known.get(found[1], "")), path), end="")
        return 0
    if arguments[:3] == ["create", "secret", "generic"]:
        [file] = [word for word in arguments if word.startswith("--from-file=")]
        assert file.endswith("=/dev/stdin")
        assert sys.stdin.read()
        print(f"secret/{arguments[3]} created")
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
    if arguments[0] == "logs" and "-l" in arguments:
        return _logs(arguments)
    if arguments[:3] == ["exec", "-i", "postgres-0"]:
        return _psql(arguments[arguments.index("--") + 1 :])
    if arguments[0] == "debug":
        assert arguments[1] == "pod/id-account-0"
        assert "--container=account" in arguments
        assert "--profile=restricted" in arguments, "the namespace would not let it in"
        return 0
    if arguments[0] == "exec" and {"id-account-doctor", "pod/id-account-0"} & set(arguments):
        return ask(os.environ["COMMANDS"], arguments[arguments.index("--") + 2 :])
    if arguments[:2] in (["label", "pod"], ["delete", "pod"]):
        return 0
    if arguments[:3] == ["rollout", "restart", "deployment"]:
        arguments[2] = "deployment/id-oidc"  # all of them; one of them tells enough
    arguments[:] = [word.replace("deployment.apps/", "deployment/") for word in arguments]
    return None


def _patched(patch: object) -> dict[str, str]:
    """What a patch sets: of --type=merge, or a list of changes."""
    if isinstance(patch, dict):
        encoded = {name: base64.b64decode(value).decode() for name, value in patch.get("data", {}).items()}
        return encoded | {name: str(value) for name, value in patch.get("stringData", {}).items()}
    assert isinstance(patch, list)
    assert all(change["op"] in ("add", "replace") for change in patch)
    return {
        change["path"].removeprefix("/data/"): base64.b64decode(change["value"]).decode() for change in patch
    }


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _logs(arguments: Sequence[str]) -> int:
    """What the suite's web processes wrote, as of the pods that have the labels."""
    labels = dict(label.split("=") for label in arguments[arguments.index("-l") + 1].split(","))
    service = labels.get("component", "").removesuffix("-worker")
    with open(os.environ["DATA_DIR"] + "/log/web.jsonl", errors="replace") as lines:
        for line in lines:
            found = re.search(r'"service": "(\w+)"', line)
            if found and service in ("", found[1]):
                prefix = f"[pod/id-{found[1]}-0/{found[1]}] " if "--prefix" in arguments else ""
                moment = f"{MOMENT} " if "--timestamps" in arguments else ""
                print(prefix + moment + line, end="")
    return 0


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
        if text.strip():
            cursor.execute(text)
        for row in cursor.fetchall() if cursor.description else []:
            print("|".join(map(str, row)))
    connection.close()
    return 0
