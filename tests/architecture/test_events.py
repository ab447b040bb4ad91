"""The JSON of every event is what its golden file says: other releases read it."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from libs.guard.keyring import KeyRing
from libs.messaging.events import EVENTS, Event

GOLDEN = Path(__file__).parent / "events"
KEYS = KeyRing({"golden": bytes(32)})
EVENT_ID = uuid.UUID("01890000-0000-7000-8000-000000000000")


def golden(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return data


def shape(value: Any) -> Any:
    """The form of JSON without its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_every_event_has_a_golden_file_and_no_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_is_read_from_its_golden_file_and_written_the_same(name: str) -> None:
    """A change of meaning is a new version; a producer of v2 also sends v1 for one release."""
    expected = golden(name)
    plain = {
        key: {"sealed": KEYS.seal(json.dumps(value["sealed content"]).encode(), f"event:{key}:{EVENT_ID}")}
        if isinstance(value, dict) and "sealed content" in value
        else value
        for key, value in expected["data"].items()
    }
    event = EVENTS[name].from_data(plain, EVENT_ID, KEYS)
    written = event.to_data(EVENT_ID, KEYS)
    assert list(written) == list(expected["data"])
    for key, value in expected["data"].items():
        if isinstance(value, dict) and "sealed content" in value:
            assert set(written[key]) == {"sealed"}
        else:
            assert written[key] == value
            assert shape(written[key]) == shape(value)


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.NAME)
def test_event_names_say_who_what_in_the_past_tense_and_which_version(event: type[Event]) -> None:
    producer, what, version = event.NAME.split(".")
    assert producer in ("account", "onboarding", "oidc", "notification")
    assert what.endswith("ed"), "events are past tense"
    assert version.startswith("v")
    assert golden(event.NAME)["subscribers"] == list(event.SUBSCRIBERS)
