"""The tables of docs/architecture.md that say which test shows what: each names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`((?:tests/[\w/*]+)?)(?:::(test_\w+))?`")


def test_every_test_that_a_table_names_exists() -> None:
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|") and "`tests/" in line]
    assert len(rows) > 30
    for row in rows:
        place = ""
        for named, test in NAMED.findall(row):
            if not named and not test:
                continue
            place = named or place
            files = sorted(ROOT.glob(f"{place}.py"))
            assert files, f"{place} is no file of tests"
            assert not test or any(
                re.search(rf"^def {test}", file.read_text(), re.MULTILINE) for file in files
            ), f"{place} has no {test}…"
