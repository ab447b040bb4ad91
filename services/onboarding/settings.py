"""What onboarding reads from its environment beside the common settings."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from libs.settings import ServiceSettings, SettingsError

KINDS = ("text", "choice", "checkbox")
MOST_QUESTIONS = 20
LONGEST_ANSWER = 2000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WORDS = ("en", "ru")


@dataclass(frozen=True, kw_only=True)
class ExtraQuestion:
    """One entry of EXTRA_QUESTIONS. Words come by language; `choices` are the words of each value, in order."""

    name: str
    kind: str
    label: Mapping[str, str]
    required: bool
    choices: Mapping[str, Mapping[str, str]]
    longest: int


@dataclass(frozen=True, kw_only=True)
class OnboardingSettings(ServiceSettings):
    """Lifetimes are read in seconds."""

    SERVICE: ClassVar[str] = "onboarding"

    CONFIRMATION_LINK_LIFETIME: timedelta = timedelta(days=3)
    """How long the link that confirms an applicant's address works; a newer one ends the older."""
    ACTIVATION_LINK_LIFETIME: timedelta = timedelta(hours=24)
    """How long the link that opens an approved person's account works; a newer one ends the older."""
    INVITATION_LIFETIME: timedelta = timedelta(days=14)
    """How long an invitation works, unless whoever makes it says otherwise."""
    ENDED_LINKS_KEPT: timedelta = timedelta(days=30)
    """How long after its end a link is still known, so that its page can offer a fresh mail in one click."""

    UNCONFIRMED_LIFETIME: timedelta = timedelta(days=14)
    """How long an undecided application waits for its address to be confirmed, after the last mail about it."""
    QUESTION_LIFETIME: timedelta = timedelta(days=14)
    """How long a reviewer's question waits for the applicant's answer; then the application expires."""
    APPROVED_LIFETIME: timedelta = timedelta(days=30)
    """How long an approved application waits for its account to be opened, after the last mail about it."""
    NETWORKS_KEPT: timedelta = timedelta(days=90)
    """How long the network that an application came from is remembered."""

    DISPOSABLE_DOMAINS: tuple[str, ...] = ()
    """Mail domains, comma-separated, whose addresses do not last: nobody joins with one of them or below them."""
    DISPOSABLE_DOMAINS_FILE: str = ""
    """A file of more of them, one a line, `#` for comments: the lists that are about hold thousands."""
    TERMS_VERSION: str = ""
    """The version of the terms that applicants accept, such as 2026-01; without one they accept none."""
    TERMS_URL: str = ""
    """Where the terms can be read: an https address, or a path of ours."""
    EXTRA_QUESTIONS: str = ""
    """What else applicants are asked: a JSON list of {"name", "kind", "label", "required", "choices", "longest"}."""

    DIGEST_HOUR: int = 6
    """The hour (UTC) from which reviewers are mailed what waits for them, once a day."""

    @cached_property
    def disposable_domains(self) -> frozenset[str]:
        """Both lists of disposable domains, read. Raises SettingsError."""
        return frozenset(self.DISPOSABLE_DOMAINS) | read_domains(self.DISPOSABLE_DOMAINS_FILE)

    @cached_property
    def extra_questions(self) -> tuple[ExtraQuestion, ...]:
        """EXTRA_QUESTIONS, read. Raises SettingsError."""
        return read_questions(self.EXTRA_QUESTIONS)

    def check(self) -> None:
        super().check()
        if self.UNCONFIRMED_LIFETIME < self.CONFIRMATION_LINK_LIFETIME:
            raise SettingsError("UNCONFIRMED_LIFETIME must not be shorter than CONFIRMATION_LINK_LIFETIME.")
        if self.APPROVED_LIFETIME < self.ACTIVATION_LINK_LIFETIME:
            raise SettingsError("APPROVED_LIFETIME must not be shorter than ACTIVATION_LINK_LIFETIME.")
        for domain in self.DISPOSABLE_DOMAINS:
            if not is_domain(domain):
                raise SettingsError(
                    "DISPOSABLE_DOMAINS must be mail domains in lower case, comma-separated, "
                    f"such as mail.example, not {domain!r}."
                )
        if not 0 <= self.DIGEST_HOUR <= 23:
            raise SettingsError("DIGEST_HOUR must be an hour from 0 to 23.")
        _ = self.disposable_domains, self.extra_questions
        self._check_terms()

    def _check_terms(self) -> None:
        if bool(self.TERMS_VERSION) != bool(self.TERMS_URL):
            missing = "TERMS_URL" if self.TERMS_VERSION else "TERMS_VERSION"
            raise SettingsError(f"{missing} is not set, though its counterpart is.")
        if len(self.TERMS_VERSION) > 40:
            raise SettingsError("TERMS_VERSION must have 40 characters at most.")
        url = urlsplit(self.TERMS_URL)
        is_ours = self.TERMS_URL.startswith("/") and not self.TERMS_URL.startswith("//")
        if self.TERMS_URL and not is_ours and not (url.scheme == "https" and url.hostname):
            raise SettingsError("TERMS_URL must be an https:// address, or a path of ours such as /terms.")


def is_domain(text: str) -> bool:
    """Whether this is a mail domain in the one form in which they are compared: lower-case ASCII."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    return len(text) <= 253 and re.fullmatch(rf"{label}(\.{label})+", text) is not None


def read_domains(file: str) -> frozenset[str]:
    """The domains of a list. Raises SettingsError with a sentence that names the line."""
    if not file:
        return frozenset()
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SettingsError("DISPOSABLE_DOMAINS_FILE must name a readable text file, or nothing.") from None
    found = set()
    for number, line in enumerate(lines, 1):
        domain = line.partition("#")[0].strip().lower()
        if domain and not is_domain(domain):
            raise SettingsError(f"DISPOSABLE_DOMAINS_FILE must hold a domain a line; line {number} is none.")
        found.add(domain)
    return frozenset(found - {""})


def read_questions(text: str) -> tuple[ExtraQuestion, ...]:
    """Read EXTRA_QUESTIONS. Raises SettingsError with a sentence that names the question and what is wrong with it."""
    if not text:
        return ()
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"EXTRA_QUESTIONS must be JSON: {error}.") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError('EXTRA_QUESTIONS must be a JSON list of objects, such as [{"name": "city", …}].')
    if len(entries) > MOST_QUESTIONS:
        raise SettingsError(f"EXTRA_QUESTIONS must hold {MOST_QUESTIONS} questions at most.")
    questions = tuple(_question(number, entry) for number, entry in enumerate(entries, 1))
    names = [question.name for question in questions]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"EXTRA_QUESTIONS must name each question once: {name!r} stands there twice.")
    return questions


def _question(number: int, entry: dict[str, Any]) -> ExtraQuestion:
    name, kind = entry.get("name"), entry.get("kind")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"EXTRA_QUESTIONS: question {number} needs a name of a-z, 0-9 and _, 40 at most, a letter first."
        )
    place = f"EXTRA_QUESTIONS: question {name!r}"
    unknown = set(entry) - {"name", "kind", "label", "required", "choices", "longest"}
    if unknown:
        raise SettingsError(f"{place} has {min(unknown)!r}, which means nothing.")
    if kind not in KINDS:
        raise SettingsError(f"{place} needs a kind: {', '.join(KINDS)}.")
    required = entry.get("required", False)
    if not isinstance(required, bool):
        raise SettingsError(f"{place} must have required as true or false.")
    if ("choices" in entry) != (kind == "choice"):
        raise SettingsError(f"{place} must have choices if, and only if, its kind is choice.")
    longest = entry.get("longest", LONGEST_ANSWER)
    if "longest" in entry and kind != "text":
        raise SettingsError(f"{place} may have longest only if its kind is text.")
    if not isinstance(longest, int) or isinstance(longest, bool) or not 1 <= longest <= LONGEST_ANSWER:
        raise SettingsError(f"{place} must have longest as a number from 1 to {LONGEST_ANSWER}.")
    return ExtraQuestion(
        name=name,
        kind=str(kind),
        label=_words(place, "label", entry.get("label")),
        required=required,
        choices=_choices(place, entry["choices"]) if kind == "choice" else {},
        longest=longest,
    )


def _choices(place: str, entries: Any) -> dict[str, Mapping[str, str]]:
    if not isinstance(entries, list) or not 2 <= len(entries) <= 50:
        raise SettingsError(f"{place} needs a list of 2 to 50 choices.")
    found: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        value = entry.get("value") if isinstance(entry, dict) else None
        if not isinstance(value, str) or not 1 <= len(value) <= 100 or value != value.strip():
            raise SettingsError(f"{place} has a choice without a value: a word of 100 characters at most.")
        if value in found:
            raise SettingsError(f"{place} must have each choice once: {value!r} stands there twice.")
        found[value] = _words(place, f"the label of {value!r}", entry.get("label"))
    return found


def _words(place: str, what: str, given: Any) -> dict[str, str]:
    words = given if isinstance(given, dict) else {}
    for language in _WORDS:
        text = words.get(language)
        if not isinstance(text, str) or not 1 <= len(text.strip()) <= 500:
            raise SettingsError(f"{place} needs {what} in words of {language!r}, 500 characters at most.")
    return {language: words[language].strip() for language in _WORDS}
