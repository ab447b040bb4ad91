"""The runbook's fenced blocks, in their order, each with the heading that it stands under."""

import re
from dataclasses import dataclass

from tests.running import ROOT

DOCUMENT = ROOT / "docs" / "runbook.md"
_FENCE = re.compile(r"^ *```(\w*)$")


@dataclass(frozen=True)
class Block:
    """What stands between two fences. `number` counts the blocks under one heading, from 1."""

    heading: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.heading} / {self.number}"


def blocks() -> list[Block]:
    found: list[Block] = []
    heading, language, lines = "", None, []
    for line in DOCUMENT.read_text().splitlines():
        fence = _FENCE.match(line)
        if fence and language is None:
            language, lines = fence[1], []
        elif fence:
            number = 1 + sum(block.heading == heading for block in found)
            found.append(Block(heading, number, language or "", "\n".join(lines)))
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert language is None, "a fence is never closed"
    return found
