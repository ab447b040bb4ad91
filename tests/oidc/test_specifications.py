"""docs/specifications.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "specifications.md"


def test_every_row_names_tests_that_exist() -> None:
    written = {}
    for path in TESTS.glob("*/test_*.py"):
        names = set(re.findall(r"^def (test_\w+)", path.read_text(), re.M))
        written[f"tests/{path.parent.name}/{path.stem}"] = names
        if path.parent.name == "oidc":
            written[path.stem] = names
    missing = []
    for line in TABLE.read_text().splitlines():
        file = None
        for name in re.findall(r"`((?:(?:tests/\w+/)?test_\w+)?(?:::test_\w+)?)`", line):
            stem, _, beginning = name.partition("::")
            file = stem or file
            if file not in written or not any(test.startswith(beginning) for test in written[file]):
                missing.append(name)
    assert missing == []


def test_every_implemented_section_has_a_test() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if "✅" in line]
    assert rows
    assert [row for row in rows if "test" not in row.rpartition("✅")[2]] == []
