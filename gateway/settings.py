"""Settings of the gateway: where the services listen, and what the demo signs in with."""

import dataclasses
import re
from dataclasses import dataclass

from libs.guard.keyring import derive
from libs.settings import Settings, SettingsError

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(Settings):
    """What the front door, its own app and beat read beside the common settings."""

    ACCOUNT_UPSTREAM: str = "127.0.0.1:8001"
    """host:port of account's web processes."""
    ONBOARDING_UPSTREAM: str = "127.0.0.1:8002"
    """host:port of onboarding's web processes."""
    OIDC_UPSTREAM: str = "127.0.0.1:8003"
    """host:port of oidc's web processes."""
    NOTIFICATION_UPSTREAM: str = "127.0.0.1:8004"
    """host:port of notification's web processes."""
    FRONT_UPSTREAM: str = "127.0.0.1:8005"
    """host:port of the gateway's own app."""
    SECURITY_CONTACT: str = "mailto:security@updspace.com"
    """Where to report a weakness: the Contact of /.well-known/security.txt (RFC 9116)."""
    DEMO_URL: str = ""
    """Where the demo is reached, without a trailing slash; PUBLIC_URL/demo unless it stands on a site of its own."""
    DEMO_CLIENT_ID: str = "demo"
    """The client that the demo is registered as."""
    DEMO_CLIENT_SECRET: str = dataclasses.field(default="", repr=False)
    """Its secret; in development one derived from SECRET_KEY, so that nobody has to hand it over."""

    @property
    def demo_url(self) -> str:
        return self.DEMO_URL.rstrip("/") or f"{self.PUBLIC_URL}/demo"

    @property
    def demo_client_secret(self) -> str:
        return self.DEMO_CLIENT_SECRET or derive(self.SECRET_KEY, "demo client").hex()

    def upstream(self, owner: str) -> str:
        """host:port of an owner of the route table; the gateway's own is the front app."""
        name = "FRONT" if owner == "gateway" else owner.upper()
        address: str = getattr(self, f"{name}_UPSTREAM")
        return address

    def check(self) -> None:
        super().check()
        for field in dataclasses.fields(self):
            if field.name.endswith("_UPSTREAM"):
                check_upstream(field.name, getattr(self, field.name))


def check_upstream(name: str, value: str) -> None:
    """Raises SettingsError unless the value is host:port."""
    match = _HOST_AND_PORT.fullmatch(value)
    if not match or not 0 < int(match[2]) < 65536:
        raise SettingsError(f"{name} must be host:port, such as 127.0.0.1:8001, not {value!r}.")
