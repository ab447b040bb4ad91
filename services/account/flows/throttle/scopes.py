"""What may be tried how often: a row per scope, and the buckets in which one try counts."""

from dataclasses import dataclass

from libs.guard.ratelimit import KEY_PREFIX, TIGHTENED
from services.account.flows.visitor import Visitor


@dataclass(frozen=True, kw_only=True)
class Scope:
    """How much of one kind of try is admitted. Numbers of tries are per minute."""

    per_address: int = 60
    per_network: int = 240
    per_device: int = 30
    """On a browser that is known for the account, where neither address nor network nor strangers count."""
    is_guess: bool = True
    """Whether it is about getting in, so that whoever is held up is told what else they can do."""
    free: int
    """Failures at one account before the first wait; each further one doubles it."""
    first_wait_s: int = 1


SCOPES = {
    # Somebody says who they are and proves it by something that can be guessed.
    "login": Scope(free=10),
    # Somebody at an open session is asked for the password that they have.
    "old_password": Scope(free=5),
    # A code is mailed to the account's owner; a mail is a nuisance sooner than a guess is a danger.
    "mail_code": Scope(free=3, first_wait_s=60, is_guess=False),
}
LONGEST_WAIT_S = 15 * 60
DELAYS_LIFE_S = 24 * 60 * 60
"""A day after the first failure all of them are forgotten."""
WINDOW_S = 60


@dataclass(frozen=True)
class Window:
    """So many tries within WINDOW_S of the first."""

    key: str
    allowance: int


@dataclass(frozen=True)
class Delays:
    """Some tries are free, then each has to wait twice as long as the one before."""

    key: str
    free: int
    first_wait_s: int

    def wait_after(self, tries: int) -> float:
        """Seconds until the next try, after so many."""
        over = tries - self.free
        return min(self.first_wait_s * 2.0 ** min(over, 30), LONGEST_WAIT_S) if over >= 0 else 0


@dataclass(frozen=True)
class Buckets:
    """Where one try counts. The first window counts every try, the others what was admitted."""

    windows: tuple[Window, ...]
    delays: Delays | None
    is_tightened: bool
    """Whether enhanced mode leaves a quarter."""
    is_own: bool
    """Whether these are of a device of the person's own, which a success clears."""


def buckets_of(
    name: str, *, visitor: Visitor, account: str | None, is_known_device: bool, overall: int | None
) -> Buckets:
    """The buckets of a try. `account` is the keyed hash of the address; None where nobody is named yet.

    A known device has buckets of its own and counts in no other: what strangers do never reaches it.
    """
    scope = SCOPES[name]
    prefix = f"{KEY_PREFIX}/rl:{name}"
    if is_known_device and account:
        mine = f"{prefix}:user:{account}:device:{(visitor.device_digest or '')[:32]}:"
        return Buckets(
            windows=(Window(f"{mine}window", scope.per_device),),
            delays=Delays(f"{mine}delays", scope.free, scope.first_wait_s),
            is_tightened=False,
            is_own=True,
        )
    windows = [
        Window(f"{prefix}:ip:{visitor.address}:window", scope.per_address),
        Window(f"{prefix}:net:{visitor.network}:window", scope.per_network),
    ]
    if overall is not None:
        windows.append(Window(f"{prefix}:all:window", overall))
    return Buckets(
        windows=tuple(windows),
        delays=Delays(f"{prefix}:user:{account}:delays", scope.free, scope.first_wait_s) if account else None,
        is_tightened=name in TIGHTENED,
        is_own=False,
    )
