"""What keeps keys going by itself: at the start of a process, when a client asks for more, and by the clock."""

from collections.abc import Iterable

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from libs.observe.logs import get_logger
from libs.people.bearer.tokens import KINDS
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.keys.changes import ALWAYS, Changes, changing
from services.oidc.flows.keys.material import Material, given_material, thumbprint_of
from services.oidc.flows.keys.timing import timing
from services.oidc.models import Client, SigningKey

log = get_logger("OIDC.keys")


def ensure_keys() -> int:
    """See that keys of every algorithm are there, those of the settings among them, and that every service knows them.

    A process begins with this. Returns how many came; safe to repeat. Raises SettingsError.
    """
    given = given_material(parts_of(current_app).settings)
    with changing() as keys:
        before = len(keys.rows)
        if given:
            _take_over(keys, given)
        keys.complete({*ALWAYS, *keys.algorithms(), *_asked_for(keys.session)})
        return len(keys.rows) - before


def _take_over(keys: Changes, given: list[Material]) -> None:
    """Import what is not known yet, whatever became of it: a key that was retired never comes back."""
    known = {thumbprint_of(row.public_jwk) for row in keys.rows}
    names = {row.kid for row in keys.rows}
    wanted = {material.thumbprint for material in given}
    for material in given:
        if material.thumbprint in known:
            continue
        if material.kid in names:
            log.error("key_not_imported", kid=material.kid, reason="another key has this id")
            continue
        coming = keys.of(material.alg, "next")
        if material.private_pem is None:
            keys.add(material, "previous", is_imported=True)
        elif keys.of(material.alg, "current") is None:
            keys.add(material, "current", is_imported=True)
        elif coming is not None and thumbprint_of(coming.public_jwk) in wanted:
            log.warning("key_not_imported", kid=material.kid, reason="another one of the settings is next")
        else:
            if coming is not None:  # made here, or of a setting that says something else by now
                keys.discard(coming)
            keys.add(material, "next", is_imported=True)


def _asked_for(session: Session) -> set[str]:
    """The algorithms that enabled clients have chosen."""
    chosen = (
        Client.id_token_signed_response_alg,
        Client.userinfo_signed_response_alg,
        Client.access_token_signing_alg,
    )
    found = session.scalars(sa.union(*(sa.select(column).where(Client.is_enabled) for column in chosen)))
    return {alg for alg in found if alg in KINDS}


def ensure_algorithms(algorithms: Iterable[str | None]) -> None:
    """See that there are keys of these algorithms before a client is told that it can have them.

    A key that is the first of its algorithm signs at once: nobody can have relied on a JWKS without it.
    """
    wanted = {alg for alg in algorithms if alg is not None}
    with db.transaction() as session:
        query = sa.select(SigningKey.alg).where(SigningKey.state == "current", SigningKey.alg.in_(wanted))
        if wanted <= set(session.scalars(query)):
            return
        with changing() as keys:
            keys.complete(wanted)


def rotate_due() -> None:
    """Take every step that is due: retire what nobody needs, let the next key sign, make the one after it."""
    times = timing()
    with changing() as keys:
        for row in list(keys.rows):
            end = times.retires_at(row) if row.state == "previous" else None
            if end is not None and end <= keys.now:
                keys.retire(row, is_trusted=True)
        for alg in keys.algorithms():
            current, coming = keys.of(alg, "current"), keys.of(alg, "next")
            if current is None or coming is None:
                continue
            if max(times.rotates_at(current), times.ready_at(coming, keys.rows)) <= keys.now:
                keys.promote(coming)
        keys.complete({*ALWAYS, *keys.algorithms()})
