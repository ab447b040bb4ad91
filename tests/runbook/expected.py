"""What a block of the runbook needs before it runs, what it says, and what is so afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.runbook.conftest import Operator

Before = Callable[[Operator], Mapping[str, str] | None]
"""What has to be so before the block runs; returns the variables that its reader has set."""


def nothing(operator: Operator) -> None:
    """Nothing special."""


@dataclass(frozen=True)
class Expected:
    """What a block prints (regular expressions, each found), and what is so afterwards."""

    says: tuple[str, ...]
    before: Before = nothing
    after: Callable[[Operator, str], Any] = lambda operator, said: None
