"""Settings of the gateway: where the services listen, and what the demo signs in with."""

import dataclasses
from dataclasses import dataclass

from gateway.routes import upstreams
from libs.guard.keyring import derive
from libs.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(Settings):
    """What the front door, its own app and beat read beside the common settings."""

    ACCOUNT_UPSTREAM: str = ""
    """host:port of account's web processes; 127.0.0.1:8001 unless set."""
    ONBOARDING_UPSTREAM: str = ""
    """host:port of onboarding's web processes; 127.0.0.1:8002 unless set."""
    OIDC_UPSTREAM: str = ""
    """host:port of oidc's web processes; 127.0.0.1:8003 unless set."""
    NOTIFICATION_UPSTREAM: str = ""
    """host:port of notification's web processes; 127.0.0.1:8004 unless set."""
    FRONT_UPSTREAM: str = ""
    """host:port of the gateway's own app, for nginx alone; 127.0.0.1:8005 unless set."""
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

    @property
    def upstreams(self) -> dict[str, str]:
        """host:port of every owner of the route table."""
        return upstreams(dataclasses.asdict(self))

    def check(self) -> None:
        super().check()
        upstreams(dataclasses.asdict(self))
