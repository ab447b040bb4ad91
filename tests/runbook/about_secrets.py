"""The runbook's blocks about secrets: what each needs, says and leaves in the cluster's secret."""

from collections.abc import Callable

from libs.guard.secrets import fresh
from tests.runbook.conftest import Operator
from tests.runbook.expected import Before, Expected


def rotating(setting: str, *, of_two: bool = False) -> Before:
    """The reader has set SETTING; after the first step of a rotation its ring is of two keys."""

    def before(operator: Operator) -> dict[str, str]:
        kept = operator.kept(setting)
        operator.write_secrets({setting: f"{kept},{fresh.encryption_key()}"} if of_two else {})
        return {"SETTING": setting}

    return before


def given_to_everybody(operator: Operator) -> None:
    """The new SECRET_KEY is understood by every process."""
    operator.write_secrets({"SECRET_KEY_FALLBACKS": fresh.shared_secret()})


def has_changed_places(operator: Operator, said: str) -> None:
    secrets = operator.read_secrets()
    assert secrets["SECRET_KEY_FALLBACKS"] == operator.kept("SECRET_KEY") != secrets["SECRET_KEY"]
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


def forgets(operator: Operator, said: str) -> None:
    """What the block wrote into the cluster's secret is nobody's any more."""
    operator.write_secrets({})


def has_another_login(operator: Operator, said: str) -> None:
    assert "//id_account_next:" in operator.read_secrets()["ACCOUNT_DATABASE_URL"]
    operator.write_secrets({})


def an_old_login(operator: Operator) -> dict[str, str]:
    operator.sql("CREATE ROLE id_account_old LOGIN")
    return {"ROLE": "id_account_old"}


def is_closed(operator: Operator, said: str) -> None:
    assert operator.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'id_account_old'") == "False"


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
    "SECRET_KEY rotation / 1": Expected((r"successfully rolled out",), after=forgets),
    "SECRET_KEY rotation / 2": Expected(
        (r"successfully rolled out",), given_to_everybody, has_changed_places
    ),
    "SECRET_KEY rotation / 3": Expected((r"successfully rolled out",), given_to_everybody, forgets),
    "Data and event encryption keys / 1": Expected(
        (r"successfully rolled out",), rotating("DATA_ENCRYPTION_KEYS"), is_the_ring(2, first="old")
    ),
    "Data and event encryption keys / 2": Expected(
        (r"successfully rolled out",),
        rotating("EVENT_ENCRYPTION_KEYS", of_two=True),
        is_the_ring(2, first="new"),
    ),
    "Data and event encryption keys / 3": Expected(
        (r"Sealed 0 row\(s\) anew under \w+\. Every row is under it\.",)
    ),
    "Data and event encryption keys / 4": Expected(
        (r"successfully rolled out",),
        rotating("DATA_ENCRYPTION_KEYS", of_two=True),
        is_the_ring(1, first="old"),
    ),
    "Client secrets / 2": Expected(
        (r"successfully rolled out",), lambda operator: {"SECRET": "a-new-secret-of-github"}, forgets
    ),
    "Database passwords / 1": Expected(
        (r"successfully rolled out",),
        lambda operator: {"ROLE": "postgres", "NEXT_ROLE": "id_account_next"},
        has_another_login,
    ),
    "Database passwords / 2": Expected((r"^0$",), an_old_login, is_closed),
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
