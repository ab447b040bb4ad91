"""What an operator decides about keys: the next ones sign now, suspect ones go at once, one is withdrawn."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flask import current_app
from flask_babel import lazy_gettext

from libs.service import parts_of
from libs.web.problems import Problem
from services.oidc.flows.keys.changes import ALWAYS, PUBLISHED, Changes, changing
from services.oidc.flows.keys.material import given_material, make_material, thumbprint_of
from services.oidc.flows.keys.timing import timing
from services.oidc.models import SigningKey


class UnknownKey(Problem):
    """No key has this id."""

    status, slug, title = 404, "unknown-key", lazy_gettext("There is no key with this id")


class NoKeys(Problem):
    """Nothing signs by this algorithm yet."""

    status, slug = 409, "no-keys"
    title = lazy_gettext("No client has asked for this algorithm yet, so that it has no keys")


class NotReady(Problem):
    """The successor is too young: clients would refuse what it signs."""

    status, slug = 409, "next-key-not-ready"
    title = lazy_gettext("The next key has not been published for long enough")

    def __init__(self, alg: str, ready_at: datetime):
        words = lazy_gettext(
            "The next key of %(alg)s can sign from %(moment)s UTC on: until then clients may not know it.",
            alg=alg,
            moment=f"{ready_at:%Y-%m-%d %H:%M}",
        )
        super().__init__(words)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A key that signs from now on."""

    alg: str
    kid: str
    replaced: str | None
    """The one that signed before."""
    unknown_until: datetime | None = None
    """Until when a client may hold a JWKS without it; None when no client can."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What a rotation did."""

    turns: list[Turn]
    waiting: dict[str, datetime]
    """Algorithms whose next key is too young, and when it can sign."""
    retires_at: datetime
    """Until when the replaced ones verify."""


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """What an emergency did."""

    turns: list[Turn]
    withdrawn: list[str]
    cached_until: datetime
    """Until when clients may go on with a JWKS from before."""


def rotate(*, alg: str | None = None) -> Rotation:
    """Let the next keys sign now, of one algorithm or of all.

    One that was made here waits until every client can know it: nobody is in need of just that key. An imported
    one signs now whatever its age, since its operator says so. Raises NoKeys.
    """
    times = timing()
    turns, waiting = [], {}
    with changing() as keys:
        algorithms = _named(keys.algorithms(), alg)
        keys.complete(algorithms)
        for name in algorithms:
            coming = keys.of(name, "next")
            assert coming is not None
            ready_at = times.ready_at(coming, keys.rows)
            is_ready = ready_at <= keys.now
            if not is_ready and not coming.is_imported:
                waiting[name] = ready_at
                continue
            old = keys.promote(coming)
            turns.append(
                Turn(
                    alg=name,
                    kid=coming.kid,
                    replaced=old.kid if old else None,
                    unknown_until=None if is_ready else ready_at,
                )
            )
        keys.complete(algorithms)
        return Rotation(turns=turns, waiting=waiting, retires_at=keys.now + times.after)


def replace_suspects(*, alg: str | None = None) -> Replacement:
    """An emergency: new keys sign at once, and every key of ours that somebody may have leaves the JWKS at once.

    That is each whose private half was ever here, waiting ones too: whoever could read one could read all.
    Raises NoKeys.
    """
    with changing() as keys:
        suspects = [row for row in keys.rows if row.state in PUBLISHED and not only_verifies(row)]
        return _replace(keys, suspects, alg)


def replace_all() -> Replacement:
    """After a restore: new keys sign at once, and nothing is believed that any key of before has signed.

    Each may have been withdrawn since the backup: one that only verifies, one that was retired long ago and by which
    ID tokens are hints still, and one that the settings have brought since and would bring again. Raises SettingsError.
    """
    given = given_material(parts_of(current_app).settings)
    with changing() as keys:
        known = {thumbprint_of(row.public_jwk) for row in keys.rows}
        names = {row.kid for row in keys.rows}
        for material in given:
            if material.thumbprint not in known and material.kid not in names:
                keys.add(replace(material, private_pem=None), "previous", is_imported=True)
        return _replace(keys, [row for row in keys.rows if row.withdrawn_at is None])


def _replace(keys: Changes, suspects: list[SigningKey], alg: str | None = None) -> Replacement:
    turns, withdrawn = [], []
    algorithms = _named({*ALWAYS, *keys.algorithms()}, alg)
    replaced = {name: keys.of(name, "current") for name in algorithms}
    for row in suspects:
        if alg in (None, row.alg):
            keys.retire(row, is_trusted=False)
            withdrawn.append(row.kid)
    for name, old in replaced.items():
        new = keys.add(make_material(name), "current")
        turns.append(Turn(alg=name, kid=new.kid, replaced=old.kid if old else None))
    keys.complete(algorithms)
    return Replacement(turns=turns, withdrawn=withdrawn, cached_until=keys.now + timing().caching)


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """What became of a key that was retired by hand."""

    kid: str
    alg: str
    was: str
    turn: Turn | None = field(default=None)
    """Who signs instead, where it signed."""


def retire(kid: str) -> Retirement:
    """Withdraw one key at once: nothing that it signed is believed any more, and it never comes back.

    The one that signs goes only when its successor is known to every client. Raises UnknownKey, NotReady.
    """
    times = timing()
    with changing() as keys:
        row = keys.find(kid)
        if row is None:
            raise UnknownKey
        was, turn = row.state, None
        if was == "current":
            coming = keys.of(row.alg, "next")
            ready_at = times.ready_at(coming, keys.rows) if coming else keys.now + times.ahead
            if coming is None or ready_at > keys.now:
                raise NotReady(row.alg, ready_at)
            keys.promote(coming)
            turn = Turn(alg=row.alg, kid=coming.kid, replaced=kid)
        if was != "retired" or row.withdrawn_at is None:
            keys.retire(row, is_trusted=False)
        keys.complete(keys.algorithms())
        return Retirement(kid=kid, alg=row.alg, was=was, turn=turn)


def only_verifies(row: SigningKey) -> bool:
    """Whether it came without a private half: somebody else's, whose tokens are good here."""
    return row.state == "previous" and row.activated_at is None


def _named(found: Any, alg: str | None) -> list[str]:
    if alg is None:
        return sorted(found)
    if alg not in found:
        raise NoKeys
    return [alg]
