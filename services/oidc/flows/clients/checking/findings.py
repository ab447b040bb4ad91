"""What a rule has found."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Found:
    about: str
    what: str
    fix: str
    why: str
    level: str = "weak"


Findings = Iterable[Found]
