"""A mail as it goes over the wire, read again by the standard library."""

import email
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default

import pytest

from services.notification.envelope import envelope
from services.notification.writing import Mail

MOMENT = datetime(2030, 1, 31, 18, 30, tzinfo=UTC)


def wire(recipient: str = "ada@people.test", **values: str) -> bytes:
    mail = Mail(
        **{"language": "en", "subject": "Hello", "text": "Hello\n", "html": "<p>Hello</p>\n", **values}
    )
    return envelope(
        mail, sender="UpdSpace ID <id@updspace.test>", recipient=recipient, header_id="<1@test>", date=MOMENT
    ).content


def read(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def bodies(message: EmailMessage) -> list[tuple[str, str]]:
    parts = list(message.iter_parts())
    assert not any(part.defects for part in parts)
    return [(part.get_content_type(), part.get_content().replace("\r\n", "\n")) for part in parts]


@pytest.mark.parametrize(
    "text",
    [
        "Hello Ada,\n\nplain words.\n-- \nUpdSpace ID\n",
        ".\n..\n.dots at the start\nFrom the start\n",
        "Здравствуйте, Ада!\n\nСсылка: https://id.test/x?token=a=b&c\n",
        "One · among = many ~ words, a tab\t and spaces at the end   \n",
        "x" * 3000 + "\n",
        "=_not a boundary\n--=_\n",
        "😀 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200f ещё\n",
    ],
    ids=["plain", "dots", "russian", "mixed", "long", "boundary", "beyond the plane"],
)
def test_what_was_written_is_what_is_read(text: str) -> None:
    content = wire(text=text, html=f"<p>{text}</p>\n")
    assert content.isascii()
    lines = content.split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line and len(line) <= 998 for line in lines)
    assert bodies(read(content)) == [("text/plain", text), ("text/html", f"<p>{text}</p>\n")]


@pytest.mark.parametrize(
    "subject",
    [
        "Hello",
        "Подтвердите новый адрес электронной почты, пожалуйста",
        "a" * 200,
        "Hello " * 30 + "Ada",
        "=?utf-8?q?Hello=0D=0ABcc:_all@people.test?= Ada",
        "Привет, =?utf-8?b?SGVsbG8=?=",
        "One =? two",
    ],
)
def test_headers_say_who_what_and_when(subject: str) -> None:
    message = read(wire(subject=subject, language="ru"))
    assert dict(message.items()) | {"Content-Type": ""} == {
        "From": "UpdSpace ID <id@updspace.test>",
        "To": "ada@people.test",
        "Subject": subject,
        "Date": "Thu, 31 Jan 2030 18:30:00 +0000",
        "Message-ID": "<1@test>",
        "Auto-Submitted": "auto-generated",
        "Content-Language": "ru",
        "MIME-Version": "1.0",
        "Content-Type": "",
    }


@pytest.mark.parametrize(
    ("recipient", "written"),
    [
        ("o'neill+tag@mail.people.test", "o'neill+tag@mail.people.test"),
        ("ada@почта.test", "ada@xn--80a1acny.test"),
        ("ада@почта.test", "ада@xn--80a1acny.test"),
    ],
)
def test_addresses_in_all_their_forms(recipient: str, written: str) -> None:
    assert f"\r\nTo: {written}\r\n".encode() in wire(recipient)


@pytest.mark.parametrize(
    "recipient",
    [
        "",
        "@",
        "ada",
        "ada@",
        "@people.test",
        "a@b@people.test",
        "ada@people.test, bob@people.test",
        "Ada <ada@people.test>",
        "ada@people.test\r\nBcc: bob@people.test",
        "ada@people.test\n",
        "ada @people.test",
        ".ada@people.test",
        "ada@people..test",
        "%0aBcc:x@y.test",
        "ada@people.test>",
        '"a b"@people.test',
        "x" * 400 + "@people.test",
    ],
)
def test_what_is_no_address_makes_no_mail(recipient: str) -> None:
    with pytest.raises(ValueError, match=r"addr|local-part"):
        wire(recipient)
