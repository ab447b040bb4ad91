"""As much of PromQL as it takes to see which series and labels an expression needs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_METRIC = re.compile(r"\b(id_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Selected:
    """A name with the conditions on its labels: label, operator, value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def values(self) -> Iterator[tuple[str, str]]:
        """The values that are asked for by name: of `a=~"x|y"` both, of other patterns none."""
        for label, operator, value in self.matchers:
            if operator == "=":
                yield label, value
            elif operator == "=~" and re.fullmatch(r"[\w|-]+", value):
                yield from ((label, one) for one in value.split("|"))


def selected(expression: str) -> list[Selected]:
    return [
        Selected(name, tuple(_MATCHER.findall(conditions)))
        for name, conditions in _METRIC.findall(expression)
    ]


def grouped_by(expression: str) -> set[str]:
    """The labels by which something is summed or joined."""
    return {
        word.strip() for words in _GROUPING.findall(expression) for word in words.split(",") if word.strip()
    }
