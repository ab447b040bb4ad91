"""Settings of notification: where mail leaves, in whose name, and who may tell what became of it."""

import base64
import binascii
import dataclasses
import functools
from dataclasses import dataclass
from datetime import timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from libs.settings import ServiceSettings, SettingsError, is_loopback

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
LONGEST_SMTP_TIMEOUT_S = 50
WEBHOOK_SECRET_PREFIX = "whsec_"
WEBHOOK_SECRET_BYTES = range(24, 65)
"""How long the secret of a webhook may be (Standard Webhooks)."""
LEAST_SIZE_LIMIT = 50_000
DEVELOPMENT_SENDER = "UpdSpace ID <no-reply@localhost>"


@dataclass(frozen=True)
class SMTPServer:
    """What an SMTP_URL says."""

    scheme: str
    """smtp (plain), smtp+starttls (refuses to go on without TLS) or smtps (TLS from the first byte)."""
    host: str
    port: int
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> "SMTPServer":
        """Read `smtp://`, `smtp+starttls://` or `smtps://[user:password@]host[:port]`.

        Raises SettingsError, which never repeats the URL: it may hold a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SettingsError("SMTP_URL must name a host and, if any, a port that is a number.") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise SettingsError("SMTP_URL must be an smtp://, smtp+starttls:// or smtps:// URL with a host.")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise SettingsError(
                "SMTP_URL must end with host and port; write / ? # in a password as %2F %3F %23."
            )
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=port or DEFAULT_PORTS[parts.scheme],
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


@dataclass(frozen=True, kw_only=True)
class NotificationSettings(ServiceSettings):
    """What notification reads beside the common settings."""

    SERVICE: ClassVar[str] = "notification"

    SMTP_URL: str = dataclasses.field(default="", repr=False)
    """Where mail leaves. Unset in development: delivery ends in the mailbox that /dev/mailbox shows."""
    SMTP_TIMEOUT_S: int = 20
    """How long the SMTP server may take for each answer, seconds."""
    MAIL_FROM: str = ""
    """The sender of every mail: an address, or `Name <address>`."""
    MAIL_SIZE_LIMIT: int = 1_000_000
    """A mail of more bytes, headers and all, is parked instead of sent."""
    MAIL_PER_RECIPIENT: int = 20
    """How much mail one address gets within an hour; what goes beyond waits. Security mail passes."""
    MESSAGES_KEPT: timedelta = timedelta(days=90)
    """How long it stays on record that a mail was asked for and what became of it, seconds."""
    CONTENT_KEPT: timedelta = timedelta(days=30)
    """How long the content of a mail that did not leave is kept for another try, seconds; a sent one has none."""

    MAIL_FEEDBACK_SECRETS: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    """What signs /api/v1/mail-feedback, `whsec_` and base64 each; several while they change. Unset: it is closed."""

    @property
    def mail_feedback_keys(self) -> tuple[bytes, ...]:
        """The secrets as keys. Raises SettingsError, which never repeats one."""
        return tuple(_webhook_key(secret) for secret in self.MAIL_FEEDBACK_SECRETS)

    @functools.cached_property
    def smtp_server(self) -> SMTPServer | None:
        """None: delivery ends in the mailbox."""
        return SMTPServer.parse(self.SMTP_URL) if self.SMTP_URL else None

    @functools.cached_property
    def sender(self) -> Address:
        """MAIL_FROM as an address with its display name. Raises SettingsError."""
        try:
            # One address: a second one, after a comma, cannot be unpacked.
            ((name, address),) = getaddresses([self.MAIL_FROM or DEVELOPMENT_SENDER])
            sender = Address(display_name=name, addr_spec=address)
        except (ValueError, IndexError, HeaderParseError):
            sender = Address()
        if not sender.username or not sender.domain or not sender.addr_spec.isascii():
            raise SettingsError("MAIL_FROM must be an address such as UpdSpace ID <id@example.org>.")
        return sender

    @property
    def host(self) -> str:
        """The name by which we greet mail servers."""
        return urlsplit(self.PUBLIC_URL).hostname or "localhost"

    def check(self) -> None:
        super().check()
        if not self.SMTP_URL and not self.is_development:
            raise SettingsError("SMTP_URL is not set: outside development mail needs a server to leave by.")
        if not self.MAIL_FROM and not self.is_development:
            raise SettingsError("MAIL_FROM is not set: name the address that mail comes from.")
        _ = self.sender, self.mail_feedback_keys
        server = self.smtp_server
        if server and server.password and server.scheme == "smtp" and not self._may_speak_plainly(server):
            raise SettingsError("SMTP_URL must use smtps:// or smtp+starttls:// when it carries a password.")
        if not 1 <= self.SMTP_TIMEOUT_S <= LONGEST_SMTP_TIMEOUT_S:
            raise SettingsError(f"SMTP_TIMEOUT_S must be from 1 to {LONGEST_SMTP_TIMEOUT_S} seconds.")

        if self.MAIL_SIZE_LIMIT < LEAST_SIZE_LIMIT:
            raise SettingsError(
                f"MAIL_SIZE_LIMIT must be {LEAST_SIZE_LIMIT} bytes or more: letters need that."
            )
        if self.MAIL_PER_RECIPIENT < 1:
            raise SettingsError("MAIL_PER_RECIPIENT must be 1 mail an hour or more.")
        if self.CONTENT_KEPT > self.MESSAGES_KEPT:
            raise SettingsError("CONTENT_KEPT must not be longer than MESSAGES_KEPT.")

    def _may_speak_plainly(self, server: SMTPServer) -> bool:
        return self.is_development or is_loopback(server.host)


def _webhook_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(WEBHOOK_SECRET_PREFIX) or len(key) not in WEBHOOK_SECRET_BYTES:
        raise SettingsError(
            "MAIL_FEEDBACK_SECRETS must be whsec_ and 24 to 64 random bytes in base64, comma-separated."
        )
    if len(set(key)) < 8:
        raise SettingsError("MAIL_FEEDBACK_SECRETS looks like a placeholder: generate a random one.")
    return key
