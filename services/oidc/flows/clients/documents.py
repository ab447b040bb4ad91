"""Documents of YAML or JSON, read strictly: bounded, each key once, no aliases (a few lines make gigabytes)."""

import contextlib
import json
from collections import Counter
from typing import Any

import yaml
from flask_babel import lazy_gettext

from libs.web.problems import Problem

MOST_CHARACTERS = 1024 * 1024
DEEPEST = 20


class UnreadableDocument(Problem):
    """What was handed in is no document that we read."""

    slug, title = "unreadable-document", lazy_gettext("This document cannot be read")


class _Loader(yaml.SafeLoader):
    """Plain values only: no tags that make objects, no aliases, no key twice, no bottomless nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not read", problem_mark=self.peek_event().start_mark
            )
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.MarkedYAMLError(
                problem="this is nested too deeply", problem_mark=self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if any(not isinstance(key, str) for key in keys):
            raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=node.start_mark)
        (first, count), *_ = Counter(keys).most_common(1) or [("", 0)]
        if count > 1:
            raise yaml.MarkedYAMLError(problem=f"{first} is there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_document(text: str) -> Any:
    """The plain values of a document. Raises UnreadableDocument."""
    if len(text) > MOST_CHARACTERS:
        raise UnreadableDocument(lazy_gettext("It is longer than a megabyte."))
    try:
        if text.lstrip()[:1] in ("{", "["):
            with contextlib.suppress(
                ValueError
            ):  # then it may be YAML of that look, which says what is wrong
                return read_json(text)
        return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise UnreadableDocument(
            lazy_gettext("Line %(line)s: %(why)s.", line=line, why=str(error.problem))
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableDocument(lazy_gettext("It is neither YAML nor JSON.")) from error


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, for a key that comes twice and for NaN and its like, too."""

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is there twice")
        return found

    def no_such_number(word: str) -> Any:
        raise ValueError(f"{word} is no number of JSON")

    return json.loads(text, object_pairs_hook=once_each, parse_constant=no_such_number)
