"""The shapes of what comes in: what a person typed, checked and brought into one form."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from flask import current_app
from flask_babel import gettext, lazy_gettext
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate

from libs.service import parts_of
from services.onboarding.models import REVIEWER_MAILS
from services.onboarding.settings import ExtraQuestion, OnboardingSettings

LONGEST_EMAIL = 254
LONGEST_NAME = 100
LONGEST_TEXT = 2000
# RFC 5321 §4.1.2, Dot-string: quoted local parts are legal and no provider gives them out.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WORD_JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts, and of emoji

_OTHERWISE_TODAY = "ß\u1e9eς" + _WORD_JOINERS
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs by their kind, and nothing to see


class EmailAddress(fields.Field[str]):
    """An address that can be put on an envelope: no quotes, comments, commas, spaces or line breaks."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = _bounded(value, LONGEST_EMAIL).strip(" \t")
        if not address:
            raise ValidationError(gettext("Enter your e-mail address."))
        local, _, domain = address.rpartition("@")
        domain = ascii_domain(domain)
        if (
            not _LOCAL_PART.fullmatch(local)
            or len(local) > 64
            or not domain
            or len(local) + 1 + len(domain) > LONGEST_EMAIL
        ):
            raise ValidationError(gettext("Enter an e-mail address such as name@example.org."))
        return f"{local}@{domain}"


def ascii_domain(domain: str) -> str:
    """The domain in lower-case ASCII, or nothing where it is none.

    Nothing either for the few letters with which the older rules, Python's (RFC 3490), name another domain than those
    of today (RFC 5894 §7.2): straße.de is not strasse.de. In ASCII such a domain can be named.
    """
    if any(letter in domain for letter in _OTHERWISE_TODAY):
        return ""
    try:
        labels = domain.encode("idna").decode("ascii").lower().split(".")
    except UnicodeError:
        return ""
    is_domain = len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels)
    return ".".join(labels) if is_domain and not labels[-1].isdigit() else ""


class Line(fields.Field[str]):
    """Words on one line, spaces evened out; nothing that a reader cannot see."""

    def __init__(self, *, longest: int, missing: Any):
        super().__init__(required=True)
        self.longest, self.missing = longest, missing

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = unicodedata.normalize("NFC", _bounded(value, self.longest)).strip(" \t")
        if any(_is_unseen(character) for character in text):
            raise ValidationError(gettext("Use letters on one line, without control characters."))
        text = " ".join(text.split())
        if not any(_is_seen(character) for character in text):
            raise ValidationError(str(self.missing))
        if len(text) > self.longest:
            raise ValidationError(gettext("Use %(longest)s characters at most.", longest=self.longest))
        return text


class Paragraphs(fields.Field[str]):
    """Free text with line breaks, which are kept as \\n."""

    def __init__(self, *, longest: int, missing: Any = None):
        super().__init__(required=True)
        self.longest, self.missing = longest, missing

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = unicodedata.normalize("NFC", _bounded(value, self.longest))
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        text = "\n".join(
            "".join(character for character in line if character == "\t" or not _is_unseen(character))
            for line in lines
        ).strip()
        if not text and self.missing:
            raise ValidationError(str(self.missing))
        if len(text) > self.longest:
            raise ValidationError(gettext("Use %(longest)s characters at most.", longest=self.longest))
        return text


def _bounded(value: Any, longest: int) -> str:
    """The text, unless it is far too long: normalising a megabyte of combining marks takes minutes."""
    text = str(value)
    if len(text) > 4 * longest:
        raise ValidationError(gettext("Use %(longest)s characters at most.", longest=longest))
    return text


def _is_unseen(character: str) -> bool:
    """Control characters, line separators, and marks that turn the direction of what follows."""
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _WORD_JOINERS
    )


def _is_seen(character: str) -> bool:
    """Letters, digits, signs: what a line needs one of, so that somebody can read it and press it."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANKS


class Answers(fields.Field[dict[str, Any]]):
    """Answers to EXTRA_QUESTIONS by name: text, a choice's value, or whether a box is ticked.

    What was asked and left open is not kept, nor is what nobody asked.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        given = value if isinstance(value, Mapping) else {}
        answers: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        for question in _settings().extra_questions:
            try:
                answer = _answer(question, given.get(question.name))
            except ValidationError as error:
                errors[question.name] = [str(message) for message in error.messages]
            else:
                if answer is not None:
                    answers[question.name] = answer
        if errors:
            raise ValidationError(errors)
        return answers


def _answer(question: ExtraQuestion, given: Any) -> str | bool | None:
    """One answer; None where an optional question is left open."""
    if question.kind == "checkbox":
        is_ticked = given is True or given == "yes"
        if question.required and not is_ticked:
            raise ValidationError(gettext("Tick this to go on."))
        return is_ticked
    if isinstance(given, Mapping | list):
        raise ValidationError(gettext("Write your answer first."))
    text = "" if given is None else str(given)
    if question.kind == "choice":
        if text in question.choices:
            return text
        if text or question.required:
            raise ValidationError(gettext("Choose one of these."))
        return None
    missing = lazy_gettext("Write your answer first.") if question.required else None
    words: str = Paragraphs(longest=question.longest, missing=missing).deserialize(text)
    return words or None


class AcceptedTerms(fields.Field[str | None]):
    """The version of the terms that was shown and accepted; None where there are no terms."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | None:
        version = _settings().TERMS_VERSION
        if not version:
            return None
        if not value:
            raise ValidationError(gettext("Accept the terms to go on."))
        if value != version:
            raise ValidationError(
                gettext("The terms have changed since this page was opened: read them, then accept.")
            )
        return version


def _settings() -> OnboardingSettings:
    settings: OnboardingSettings = parts_of(current_app).settings
    return settings


class ApplicationForm(Schema):
    """What an applicant says. Whatever else was posted is not looked at."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _say_nothing(self, given: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Where nothing is asked beyond the usual, nothing need be said."""
        said = {name: value for name, value in given.items() if value is not None}
        return {"answers": {}, "terms_version": "", **said}

    email = EmailAddress(required=True)
    name = Line(longest=LONGEST_NAME, missing=lazy_gettext("Tell us your name."))
    why = Paragraphs(longest=LONGEST_TEXT, missing=lazy_gettext("Write a sentence or two."))
    answers = Answers(required=True)
    terms_version = AcceptedTerms(required=True)


class AnswerForm(Schema):
    """What an applicant answers to a reviewer's question."""

    class Meta:
        unknown = EXCLUDE

    text = Paragraphs(longest=LONGEST_TEXT, missing=lazy_gettext("Write your answer first."))


class AddressForm(Schema):
    """An address alone."""

    class Meta:
        unknown = EXCLUDE

    email = EmailAddress(required=True)


class RejectionForm(Schema):
    """Why not: nothing is an answer too. Whether the applicant reads it is a box that may be left empty."""

    class Meta:
        unknown = EXCLUDE

    reason = Paragraphs(longest=LONGEST_TEXT)
    reason_is_shown = fields.Boolean(load_default=False)

    @pre_load
    def _complete(self, data: Any, **kwargs: Any) -> dict[str, Any]:
        return {"reason": "", **dict(data.items())}

    @post_load
    def _nothing_is_none(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        # Nothing was kept from the applicant where nothing was written.
        reason = data["reason"] or None
        return {"reason": reason, "reason_is_shown": data["reason_is_shown"] or reason is None}


class QuestionForm(Schema):
    """What a reviewer asks an applicant."""

    class Meta:
        unknown = EXCLUDE

    question = Paragraphs(longest=LONGEST_TEXT, missing=lazy_gettext("Write what you want to know."))


class NoteForm(Schema):
    """What a reviewer tells the others."""

    class Meta:
        unknown = EXCLUDE

    note = Paragraphs(longest=LONGEST_TEXT, missing=lazy_gettext("Write the note first."))


class MailChoiceForm(Schema):
    """When a reviewer wants mail."""

    class Meta:
        unknown = EXCLUDE

    mail = fields.String(
        required=True,
        validate=validate.OneOf(REVIEWER_MAILS, error=lazy_gettext("Choose one of these.")),
        error_messages={"required": lazy_gettext("Choose one of these.")},
    )


def first_errors(error: ValidationError) -> dict[str, Any]:
    """A message per field; of a field in a field as `outer-inner`."""
    found: dict[str, Any] = {}
    for field, messages in error.normalized_messages().items():
        if isinstance(messages, dict):
            found |= {f"{field}-{name}": inner[0] for name, inner in messages.items()}
        else:
            found[field] = messages[0]
    return found
