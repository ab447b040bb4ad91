"""Answers to the extra questions of the application form, in the words of a reader's language."""

from dataclasses import dataclass
from typing import Any

from flask import current_app
from flask_babel import gettext

from libs.service import parts_of
from services.onboarding.models import Application
from services.onboarding.settings import ExtraQuestion


@dataclass(frozen=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True)
class Asked:
    """An extra question as it is put to somebody."""

    name: str
    kind: str
    label: str
    required: bool
    choices: list[Choice]


def asked(language: str) -> list[Asked]:
    """What the form asks beyond the usual."""
    return [
        Asked(
            question.name,
            question.kind,
            question.label[language],
            question.required,
            [Choice(value, words[language]) for value, words in question.choices.items()],
        )
        for question in _questions()
    ]


def in_words(application: Application, language: str) -> list[tuple[str, str]]:
    """What was asked and what was answered. What is not asked any more stands under its name."""
    known = {question.name: question for question in _questions()}
    order = [*known, *sorted(set(application.answers) - set(known))]
    return [
        _in_words(known.get(name), name, application.answers[name], language)
        for name in order
        if name in application.answers
    ]


def _in_words(question: ExtraQuestion | None, name: str, answer: Any, language: str) -> tuple[str, str]:
    label = question.label[language] if question else name
    if isinstance(answer, bool):
        return label, gettext("Yes") if answer else gettext("No")
    if question and answer in question.choices:
        return label, question.choices[answer][language]
    return label, str(answer)


def _questions() -> tuple[ExtraQuestion, ...]:
    found: tuple[ExtraQuestion, ...] = parts_of(current_app).settings.extra_questions
    return found
