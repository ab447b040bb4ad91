"""What a server answers, as it is judged and as it may be kept."""

import re
from dataclasses import dataclass

from libs.observe.logs import redact

LONGEST_ANSWER = 300
NO_SUCH_ADDRESS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""Enhanced codes (RFC 3463) that speak of the address itself: not of a policy (5.7.x), not of a full box (5.2.2)."""
_LINK = re.compile(r"https?://\S+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ENHANCED = re.compile(r"\d{3}[ -](5\.\d{1,3}\.\d{1,3})\b")


@dataclass(frozen=True)
class Outcome:
    """How a try ended: a word of models.RESULTS, and what the server said."""

    result: str
    answer: str = ""
    is_about_address: bool = False
    """Refused because nobody has this address, so that the next mail to it would be refused too."""


def to_recipient(code: int, text: bytes | str) -> Outcome:
    """The answer to RCPT, when it is no yes."""
    answer = said(code, text)
    enhanced = _ENHANCED.match(answer)
    is_about_address = enhanced is not None and enhanced[1] in NO_SUCH_ADDRESS
    return Outcome(_judge(code), answer, is_about_address and 500 <= code < 600)


def to_content(code: int, text: bytes | str) -> Outcome:
    """The answer to the mail itself."""
    return Outcome("sent" if code == 250 else _judge(code), said(code, text))


def said(code: int, text: bytes | str) -> str:
    """The server's answer as it may be kept: one short line without links and credentials."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    words = _LINK.sub("[link]", _UNSEEN.sub(" ", words))
    return f"{code} {redact(words)}".strip()[:LONGEST_ANSWER]


def _judge(code: int) -> str:
    return "refused" if 500 <= code < 600 else "deferred"
