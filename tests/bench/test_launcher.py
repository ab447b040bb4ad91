"""`make run`: ready within seconds of the command, and small at rest."""

import time
from pathlib import Path

import pytest

from tests.running import House

READY_WITHIN_S = 8
MOST_PSS_MB = 400


@pytest.mark.bench
def test_it_is_ready_in_time_and_small_at_rest(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    for _ in ("first", "again"):
        began = time.monotonic()
        house.start()
        took_s = time.monotonic() - began
        time.sleep(15)  # the schedule's tasks have all run, and what starting needed is given back
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in house.processes()]
        pss_mb = sum(int(rollup.split("\nPss:")[1].split()[0]) for rollup in rollups) / 1024
        print(f"ready in {took_s:.1f} s, {pss_mb:.0f} MB PSS in {len(rollups)} processes")
        assert took_s < READY_WITHIN_S
        assert pss_mb < MOST_PSS_MB
        house.stop()
