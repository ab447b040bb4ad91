"""The runbook's blocks about secrets: what each needs, says and leaves in the cluster's secret."""

import re
import shlex
from collections.abc import Callable

import sqlalchemy as sa

from libs.guard.secrets import fingerprints, fresh
from tests.runbook.conftest import Operator
from tests.runbook.expected import Expected

NEW_SECRET_KEY = fresh.shared_secret()
EARLIER_SECRET_KEY = fresh.shared_secret()
ROLLED_OUT = r"successfully rolled out"
LOGINS = ("id_account_11111111", "id_account_22222222")


def rotating(setting: str, *, of_two: bool = False) -> Callable[[Operator], dict[str, str]]:
    """The reader has set SETTING; after the first step of a turn its ring is of two keys, and KEY is the new one."""

    def before(operator: Operator) -> dict[str, str]:
        kept, new = operator.kept(setting), fresh.encryption_key()
        operator.write_secrets({setting: f"{kept},{new}"} if of_two else {})
        return {"SETTING": setting, "KEY": new.partition(":")[0]}

    return before


def rotated_before(operator: Operator) -> None:
    """A fallback is there, of an earlier rotation."""
    operator.write_secrets({"SECRET_KEY_FALLBACKS": EARLIER_SECRET_KEY})


def has_one_more(operator: Operator, said: str) -> None:
    fallbacks = operator.read_secrets()["SECRET_KEY_FALLBACKS"].split(",")
    assert fallbacks[0] == EARLIER_SECRET_KEY
    assert f"KEY={fingerprints.of_secret_key(fallbacks[1])}\n" in said
    assert fallbacks[1] not in said
    assert len(fallbacks) == 2
    operator.write_secrets({})


def given_to_everybody(operator: Operator) -> dict[str, str]:
    """The new SECRET_KEY is understood by every process."""
    operator.write_secrets({"SECRET_KEY_FALLBACKS": f"{EARLIER_SECRET_KEY},{NEW_SECRET_KEY}"})
    return {"KEY": fingerprints.of_secret_key(NEW_SECRET_KEY)}


def is_in_front(operator: Operator, said: str) -> None:
    secrets = operator.read_secrets()
    assert secrets["SECRET_KEY"] == NEW_SECRET_KEY
    assert secrets["SECRET_KEY_FALLBACKS"] == f"{operator.kept('SECRET_KEY')},{EARLIER_SECRET_KEY}"
    operator.write_secrets({})


def is_alone(operator: Operator, said: str) -> None:
    secrets = operator.read_secrets()
    assert secrets == {"SECRET_KEY": operator.kept("SECRET_KEY"), "SECRET_KEY_FALLBACKS": ""}
    operator.write_secrets({})


def is_the_ring(keys: int, *, first: str) -> Callable[[Operator, str], None]:
    """So many keys are in it, and the old or the new one seals."""

    def after(operator: Operator, said: str) -> None:
        [(setting, ring)] = operator.read_secrets().items()
        old = operator.kept(setting)
        assert len(ring.split(",")) == keys
        assert (ring.split(",")[0] == old) == (first == "old")
        operator.write_secrets({})

    return after


def one_to_leave(operator: Operator) -> dict[str, str]:
    """The Secret has a key that no pod uses, beside the one that everything is under."""
    reader = rotating("DATA_ENCRYPTION_KEYS", of_two=True)(operator)
    (operator.bin / "running.json").write_text("{}")
    return {**reader, "KEY": operator.kept("DATA_ENCRYPTION_KEYS").partition(":")[0]}


def an_entry(operator: Operator) -> dict[str, str]:
    return {"ENTRY": "OPENID_PROVIDERS", "VALUE": "[]"}


def is_that_entry(operator: Operator, said: str) -> None:
    assert operator.read_secrets() == {"OPENID_PROVIDERS": "[]"}
    operator.write_secrets({})


def a_list_that_was_kept(operator: Operator) -> dict[str, str]:
    after_a_turn = rotating("DATA_ENCRYPTION_KEYS", of_two=True)
    return {**after_a_turn(operator), "KEPT": "id-earlier-keys-20260116-090000"}


def was_found(operator: Operator, said: str) -> None:
    assert said == ""
    operator.write_secrets({})


def a_key_that_was_found(operator: Operator) -> dict[str, str]:
    return {"EARLIER": fresh.encryption_key()}


def of_account(operator: Operator) -> dict[str, str]:
    return {"SERVICE": "account"}


def is_made(operator: Operator, said: str) -> None:
    [login] = re.findall(r"The next login is (\w+)\.", said)
    made = operator.sql(
        f"SELECT rolcanlogin, rolpassword ~ '^SCRAM-' FROM pg_authid WHERE rolname = '{login}'"
    )
    assert made == "True|True"


def a_password(operator: Operator) -> dict[str, str]:
    """Of a login that PostgreSQL's administrator has made."""
    password = fresh.MAKERS["PASSWORD"]()
    words = ("kubectl", "exec", "-i", "deployment/id-account", "-n", "updspace-id", "--")
    command = shlex.join([*words, "flask", "--app", "services.account", "secrets", "next-login", "--sql"])
    operator.sql(operator.run(f"printf %s $PASSWORD | {command}", {"PASSWORD": password}).stdout)
    return {"SERVICE": "account", "PASSWORD": password}


def comes_by_it(operator: Operator, said: str) -> None:
    """The service's pods began with it; its name and the database's tell where it belongs."""
    address = operator.read_secrets()["ACCOUNT_DATABASE_URL"]
    [(login, _)] = re.findall(r"//(id_account_[0-9a-f]{8}):([0-9a-f]{48})@", address)
    assert f"{login} works, and acts as postgres." in said
    operator.write_secrets({})


def two_turns(operator: Operator) -> dict[str, str]:
    """The login before the present one is used by nobody; the owner is, by the suite that runs."""
    password = fresh.MAKERS["PASSWORD"]()
    for login in LOGINS:
        operator.sql(f"CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE postgres")
        operator.sql(f"ALTER ROLE {login} SET role TO postgres")
    url = sa.make_url(operator.kept("ACCOUNT_DATABASE_URL")).set(username=LOGINS[1], password=password)
    operator.write_secrets({"ACCOUNT_DATABASE_URL": url.render_as_string(hide_password=False)})
    return {"SERVICE": "account"}


def is_closed(operator: Operator, said: str) -> None:
    found = operator.sql("SELECT rolname FROM pg_roles WHERE rolname ~ '^id_account_[12]+$'")
    assert found == LOGINS[1]
    assert operator.sql("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'postgres'") == "True"
    operator.write_secrets({})


ABOUT_SECRETS = {
    "Which secrets are in use, and by whom / 1": Expected(
        (
            r"SECRET_KEY +\| - +\| signs +\| [0-9a-f]{12}",
            r"DATA_ENCRYPTION_KEYS +\| \w+ +\| seals +\| [0-9a-f]{12} \| \d",
        )
    ),
    "Which secrets are in use, and by whom / 2": Expected(()),
    "Which secrets are in use, and by whom / 3": Expected(
        (r"^SECRET_KEY=\S{64}$", r"^DATA_ENCRYPTION_KEYS=\w{8}:\S{44}$")
    ),
    "Rows that no key opens / 1": Expected((r"DATA_ENCRYPTION_KEYS +\| \w+ +\| seals",), of_account),
    "Rows that no key opens / 2": Expected((), a_list_that_was_kept, was_found),
    "Rows that no key opens / 3": Expected((ROLLED_OUT,), a_key_that_was_found, is_the_ring(2, first="old")),
    "SECRET_KEY rotation / 1": Expected((ROLLED_OUT,), rotated_before, has_one_more),
    "SECRET_KEY rotation / 2": Expected((r"is in front", ROLLED_OUT), given_to_everybody, is_in_front),
    "SECRET_KEY rotation / 3": Expected((r"stays in SECRET_KEY", ROLLED_OUT), given_to_everybody, is_alone),
    "Data and event encryption keys / 1": Expected(
        (r"KEY=\w{8}$", ROLLED_OUT), rotating("DATA_ENCRYPTION_KEYS"), is_the_ring(2, first="old")
    ),
    "Data and event encryption keys / 2": Expected(
        (r"is in front", ROLLED_OUT),
        rotating("EVENT_ENCRYPTION_KEYS", of_two=True),
        is_the_ring(2, first="new"),
    ),
    "Data and event encryption keys / 3": Expected(
        (r"Sealed 0 row\(s\) anew under \w+\. Every row is under it\.",)
    ),
    "Data and event encryption keys / 4": Expected((r"EVENT_ENCRYPTION_KEYS +\| \w+ +\| seals",)),
    "Data and event encryption keys / 5": Expected(
        (
            r"^onboarding needs no key of DATA_ENCRYPTION_KEYS but \w+\.",
            r"^secret/id-earlier-keys-\d{8}-\d{6} created",
            r"stays in",
            ROLLED_OUT,
        ),
        one_to_leave,
        is_the_ring(1, first="old"),
    ),
    "One entry of the Secret / 1": Expected((r"patched$", ROLLED_OUT), an_entry, is_that_entry),
    "Database passwords / 4": Expected((r"^no cluster here: kubectl exec -it redis-0",)),
    "Database passwords / 1": Expected(
        (r"^The next login is id_account_[0-9a-f]{8}\.",), of_account, is_made
    ),
    "Database passwords / 2": Expected((r"worker successfully rolled out",), a_password, comes_by_it),
    "Database passwords / 3": Expected(
        (
            rf"^{LOGINS[1]}: stays\.",
            rf"^{LOGINS[0]}: goes\.",
            r"^postgres: \d+ connection\(s\) are open by it",
        ),
        two_turns,
        is_closed,
    ),
    "Is a service set up rightly? / 1": Expected(
        (
            r"^fine +migrations: At \d+",
            r"^fine +SMTP: ",
            r"^fine +signing keys: ",
            r"^fine +secrets: The workers of",
        )
    ),
    "Is a service set up rightly? / 2": Expected((r"^fine +sealed rows: All \d+ open",)),
}
