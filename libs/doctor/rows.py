"""The doctor's look at sealed rows: whether the keys of this process open all of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from libs.doctor.findings import Finding, fine, wrong
from libs.guard.keyring import KeyRing
from libs.guard.secrets.sealed import SealedColumn, count_rows, rows_by_key, unopened_keys

if TYPE_CHECKING:
    from libs.doctor import Examined, Look


def sealed_rows(columns: Sequence[SealedColumn]) -> "Look":
    """A look at these columns."""

    def look_at_sealed_rows(examined: "Examined") -> Iterator[Finding]:
        if examined.connection is None or "DATA_ENCRYPTION_KEYS" in examined.refused:
            return
        keys = KeyRing.parse(examined.settings.DATA_ENCRYPTION_KEYS, setting="DATA_ENCRYPTION_KEYS")
        rows = rows_by_key(count_rows(examined.connection, columns))
        lost = {kid: number for kid, number in rows.items() if kid not in keys.keys}
        for kid, number in sorted(lost.items()):
            says = f"{number} row(s) are sealed under {kid}, which DATA_ENCRYPTION_KEYS lacks."
            yield wrong("sealed rows", says, "Put that key back, at the end of the list, and restart.")
        misnamed = unopened_keys(examined.connection, keys, columns)
        for kid in misnamed:
            says = f"Rows under {kid} do not open: DATA_ENCRYPTION_KEYS has another key of that name."
            yield wrong(
                "sealed rows",
                says,
                "Put the earlier key back under this name, and the other under a new one.",
            )
        waiting = sum(number for kid, number in rows.items() if kid != keys.first)
        if not lost and not misnamed:
            yield fine("sealed rows", f"All {rows.total()} open; an earlier key seals {waiting} of them.")

    return look_at_sealed_rows
