"""A mail as it goes over the wire: its headers, and both its forms in plain ASCII, so that every server takes it.

Put together by hand: email.message needs ten times as long as all the writing, and reads each header that it writes.
The headers that stay the same go through it once.
"""

import base64
import binascii
import functools
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.header import Header
from email.headerregistry import Address
from email.policy import SMTP
from email.utils import format_datetime

from services.notification.writing import Mail

POLICY = SMTP.clone(cte_type="7bit")
LONGEST_LINE = 998
"""RFC 5321 §4.5.3.1.6, without its end."""
LONGEST_ENCODED_LINE = 76
"""RFC 2047 section 2."""
CRLF = "\r\n"
LONGEST_ADDRESS = 320
BASE64_GROWS = 1.37
"""By so much, line ends and all: what quoted-printable makes longer than that is better off in base64."""
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_LABEL}(?:\.{_LABEL})+)")
"""What nearly all addresses look like; the rest is for the parser."""


@dataclass(frozen=True)
class Envelope:
    """What a server is handed."""

    recipient: str
    content: bytes = field(repr=False)

    @property
    def is_ascii(self) -> bool:
        """Whether any server can take it."""
        return self.recipient.isascii()


def envelope(mail: Mail, *, sender: str, recipient: str, header_id: str, date: datetime) -> Envelope:
    """The mail with its headers. Raises ValueError when the recipient cannot be an address."""
    recipient = _address(recipient)
    boundary = f"=_{secrets.token_hex(12)}"  # its first two characters are in no encoded text
    parts = (
        _header("From", sender),
        f"To: {recipient}\r\n",
        _subject(mail.subject),
        f"Date: {format_datetime(date)}\r\n",
        f"Message-ID: {header_id}\r\n",
        # No out-of-office answer is wanted (RFC 3834 section 5).
        "Auto-Submitted: auto-generated\r\n",
        f"Content-Language: {mail.language}\r\n",
        "MIME-Version: 1.0\r\n",
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n',
        f"--{boundary}\r\n{_body(mail.text, 'plain')}\r\n",
        f"--{boundary}\r\n{_body(mail.html, 'html')}\r\n",
        f"--{boundary}--\r\n",
    )
    return Envelope(recipient, "".join(parts).encode())


@functools.lru_cache(maxsize=512)
def _header(name: str, value: str) -> str:
    """A header, folded and in ASCII."""
    return POLICY.fold(*POLICY.header_store_parse(name, value))


@functools.lru_cache(maxsize=512)
def _subject(text: str) -> str:
    """As it is written: the parser of _header() would decode what looks encoded (RFC 2047), line ends and all."""
    charset, longest = "utf-8", LONGEST_ENCODED_LINE
    if text.isascii() and "=?" not in text:
        charset, longest = "us-ascii", LONGEST_LINE
    header = Header(text, charset, maxlinelen=longest, header_name="Subject")
    return f"Subject: {header.encode(linesep=CRLF)}{CRLF}"


def _body(text: str, subtype: str) -> str:
    # No line end of another kind: to some servers a lone CR ends a line, and may end the mail.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if text.isascii() and max(map(len, lines)) <= LONGEST_LINE:
        encoding, encoded = "7bit", "\r\n".join(lines)
    else:
        content = "\r\n".join(lines).encode()
        encoding, encoded = "quoted-printable", binascii.b2a_qp(content).decode()
        if len(encoded) > len(content) * BASE64_GROWS:
            encoding, encoded = "base64", base64.encodebytes(content).decode().replace("\n", "\r\n")
    return f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{encoded}'


def _address(text: str) -> str:
    """Exactly one bare address, its domain in the form that DNS knows. Raises ValueError."""
    if len(text) > LONGEST_ADDRESS:
        raise ValueError("longer than an address can be")
    if _PLAIN.fullmatch(text):
        return text
    local, _, domain = text.rpartition("@")
    # The parser knows the form, but no letters beyond ASCII before the @ (RFC 6531 allows them).
    plain = "".join(letter if letter.isascii() else "x" for letter in local)
    try:
        domain = domain.encode("idna").decode("ascii")
        form = Address(addr_spec=f"{plain}@{domain}")
    except (HeaderParseError, IndexError, UnicodeError) as error:
        raise ValueError("not an address") from error
    if (form.username, form.domain) != (plain, domain):
        raise ValueError("not a bare address")
    return str(Address(username=local, domain=domain))
