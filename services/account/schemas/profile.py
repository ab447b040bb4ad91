"""The shapes of what comes in about a person: checked and brought into one form; no queries."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from flask_babel import gettext
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate

from libs.database import utcnow
from libs.web.languages import LANGUAGES
from services.account.flows.users import MAX_NAME_LENGTH

LONGEST_LINE = 100
LONGEST_URL = 500
LONGEST_STREET = 300
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SPACERS = re.compile(r"[ \u00a0().\-/]")
_BIRTHDATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})-([0-9]{2}))?")
_URL = re.compile(r"[\x21-\x7e]+")
_WORD_JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts, and of emoji


class Text(fields.Field[Any]):
    """Words on one line, or on several; nothing that a reader cannot see. Empty text is None: not given."""

    def __init__(self, *, longest: int, has_lines: bool = False, **options: Any):
        super().__init__(allow_none=True, **options)
        self.longest, self.has_lines = longest, has_lines

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:
        if not isinstance(value, str):
            raise ValidationError(gettext("This must be text."))
        if len(value) > 4 * self.longest:  # normalising a megabyte of combining marks takes minutes
            raise self._too_long()
        text = unicodedata.normalize("NFC", value)
        lines = re.split(r"\r\n|\r|\n", text) if self.has_lines else [text]
        if any(_is_unseen(sign) for line in lines for sign in line):
            raise ValidationError(gettext("Use letters and signs that can be seen."))
        text = "\n".join(" ".join(line.split()) for line in lines).strip()
        if len(text) > self.longest:
            raise self._too_long()
        return text or None

    def _too_long(self) -> ValidationError:
        return ValidationError(gettext("Use %(count)s characters at most.", count=self.longest))


def _is_unseen(sign: str) -> bool:
    """Control characters, line separators, and marks that turn the direction of what follows."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in _WORD_JOINERS


class WebAddress(Text):
    """An http or https URL that leads to a host, as it stands in a browser's address bar."""

    def __init__(self, **options: Any):
        super().__init__(longest=LONGEST_URL, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:
        url = super()._deserialize(value, attr, data, **kwargs)
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_web = False
        if not is_web or "@" in parts.netloc or not _URL.fullmatch(url):
            raise ValidationError(gettext("Enter a web address such as https://example.org/me."))
        return url


class Birthdate(Text):
    """ISO 8601: YYYY-MM-DD, 0000-MM-DD where the year is nobody's business, or the year alone (Core §5.1)."""

    def __init__(self, **options: Any):
        super().__init__(longest=10, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is not None and not _is_birthdate(text):
            raise ValidationError(gettext("Enter a date such as 1990-12-31, or 0000-12-31 without the year."))
        return text


def _is_birthdate(text: str) -> bool:
    found = _BIRTHDATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = found.groups()
    try:
        # 2000 has a 29 February: somebody may have it without saying of which year.
        moment = date(int(year) or 2000, int(month or 1), int(day or 1))
    except ValueError:
        return False
    return moment <= utcnow().date() and (year != "0000" or month is not None)


class PhoneNumber(Text):
    """E.164; spaces and the like are left out."""

    def __init__(self, **options: Any):
        super().__init__(longest=30, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is None:
            return None
        number = _SPACERS.sub("", text)
        if not _E164.fullmatch(number):
            raise ValidationError(
                gettext("Enter the number with + and the country code, such as +49 30 123456.")
            )
        return number


class Address(Schema):
    """A postal address (OpenID Connect Core §5.1.1)."""

    class Meta:
        unknown = EXCLUDE

    street_address = Text(longest=LONGEST_STREET, has_lines=True)
    locality = Text(longest=LONGEST_LINE)
    region = Text(longest=LONGEST_LINE)
    postal_code = Text(longest=20)
    country = Text(longest=LONGEST_LINE)

    @post_load
    def _leave_out_what_is_not_given(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None}


class ProfileChanges(Schema):
    """What a person changes of their own profile; whatever else was sent is not looked at."""

    class Meta:
        unknown = EXCLUDE

    name = Text(longest=MAX_NAME_LENGTH)
    given_name = Text(longest=LONGEST_LINE)
    family_name = Text(longest=LONGEST_LINE)
    middle_name = Text(longest=LONGEST_LINE)
    nickname = Text(longest=LONGEST_LINE)
    preferred_username = Text(longest=LONGEST_LINE)
    profile = WebAddress()
    website = WebAddress()
    gender = Text(longest=LONGEST_LINE)
    birthdate = Birthdate()
    zoneinfo = Text(longest=LONGEST_LINE)
    locale = fields.String(validate=validate.OneOf(list(LANGUAGES)))
    phone_number = PhoneNumber()
    address = fields.Nested(Address, allow_none=True)

    @post_load
    def _check_what_cannot_be_empty(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if "name" in data and data["name"] is None:
            raise ValidationError(
                gettext("A name has 1 to %(count)s characters.", count=MAX_NAME_LENGTH), "name"
            )
        if data.get("zoneinfo") is not None and data["zoneinfo"] not in time_zones():
            raise ValidationError(
                gettext("This is not a time zone we know, such as Europe/Berlin."), "zoneinfo"
            )
        return data


@cache
def time_zones() -> frozenset[str]:
    """The names of the IANA time zone database."""
    return frozenset(available_timezones())


def flat_errors(messages: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """One message per field; those of nested ones under `address.locality`."""
    flat: dict[str, str] = {}
    for field, found in messages.items():
        if isinstance(found, Mapping):
            flat |= flat_errors(found, f"{prefix}{field}.")
        else:
            flat[f"{prefix}{field}"] = str(found[0])
    return flat
