"""What all programs of the suite have said, after the tests before this one stopped, killed and started them."""

import json

from gateway.suite import Suite
from tests.suite.people import People

FIELDS = {"timestamp", "level", "service", "logger", "event", "correlation_id"}


def test_every_line_of_every_program_is_a_record(people: People, suite: Suite) -> None:
    """gunicorn's, Celery's and nginx's own words, too, and those of libraries that warn."""
    for program in suite.programs():
        lines = suite.data.log(f"{program}.jsonl").read_text(errors="replace").splitlines()
        assert lines, f"{program} says nothing"
        for line in lines:
            assert line.startswith("{"), f"{program} said: {line}"
            assert set(json.loads(line)) >= FIELDS, f"{program} said: {line}"
