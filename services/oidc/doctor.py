"""The doctor's look at the signing keys: something signs, this process can open it, and the next one is known."""

from collections.abc import Iterator

import sqlalchemy as sa

from libs.database import utcnow
from libs.doctor import Examined, Finding, fine, weak, wrong
from libs.guard.keyring import CannotOpen, KeyRing
from services.oidc.flows.keys import ALWAYS, PUBLISHED, open_private_key
from services.oidc.models import SigningKey
from services.oidc.observing import ROTATION_GRACE


def look_at_signing_keys(examined: Examined) -> Iterator[Finding]:
    if examined.connection is None or "DATA_ENCRYPTION_KEYS" in examined.refused:
        return
    table = SigningKey.__table__
    rows = examined.connection.execute(sa.select(table).where(table.c.state.in_(PUBLISHED))).all()
    if not rows:
        fix = "The first process that starts makes them; if one has, its log says why not (OIDC.keys)."
        yield weak("signing keys", "There are none yet.", fix)
        return
    keys = KeyRing.parse(examined.settings.DATA_ENCRYPTION_KEYS, setting="DATA_ENCRYPTION_KEYS")
    for row in rows:
        if row.private_key_sealed is not None and not _opens(row, keys):
            yield wrong(
                "signing keys",
                f"DATA_ENCRYPTION_KEYS does not open the {row.state} key {row.kid}.",
                "Put the key that sealed it back, at the end of the list; if it is gone: keys rotate --emergency",
            )
    for alg in ALWAYS:
        if not any(row.alg == alg and row.state == "current" for row in rows):
            yield wrong(
                "signing keys", f"Nothing signs by {alg}.", "Restart id-oidc, and read its log (OIDC.keys)."
            )
    overdue = utcnow() - examined.settings.KEY_ROTATION_INTERVAL - ROTATION_GRACE
    if any(row.state == "current" and row.activated_at < overdue for row in rows):
        fix = "Is beat running, and the worker of oidc? By hand: keys rotate"
        yield weak("signing keys", "A key signs for longer than KEY_ROTATION_INTERVAL.", fix)
    if {row.alg for row in rows if row.state == "current"} - {row.alg for row in rows if row.state == "next"}:
        yield weak("signing keys", "A key has no next one.", "Restart id-oidc, and read its log (OIDC.keys).")
    yield fine("signing keys", f"{len(rows)} keys are published in the JWKS.")


def _opens(row: object, keys: KeyRing) -> bool:
    try:
        open_private_key(row, keys)
    except CannotOpen:
        return False
    return True
