"""The browser at the other end of a sign-in, in plain values: flows know no request."""

from dataclasses import dataclass, field

from libs.guard.ratelimit import counted_address, neighbourhood
from libs.guard.single_use import digest

MAX_USER_AGENT = 400


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Whoever sits at a browser, as far as signing in cares."""

    ip: str = "0.0.0.0"  # noqa: S104  a word for "unknown", not a bind
    """The true address, as far as our own proxies vouch for it."""
    user_agent: str = ""
    """What the browser says it is: printable, and not for ever."""
    held: tuple[str, ...] = field(default=(), repr=False)
    """The session secrets in its cookie, current first."""
    device: str | None = field(default=None, repr=False)
    """The secret of its device cookie, by which a person's own browsers are known."""

    @property
    def printable_user_agent(self) -> str:
        return "".join(sign for sign in self.user_agent if sign.isprintable())[:MAX_USER_AGENT]

    @property
    def device_digest(self) -> str | None:
        return digest(self.device) if self.device else None

    @property
    def address(self) -> str:
        """The address as limits count it: of IPv6, the /64."""
        return counted_address(self.ip)

    @property
    def network(self) -> str:
        """The network that the address most likely shares with its neighbours: a /24, or a /48 of IPv6."""
        return neighbourhood(self.ip)
