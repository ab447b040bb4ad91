"""Every word that a person reads has its Russian translation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]
PLACES = [
    "libs",
    "services/account",
    "services/onboarding",
    "services/oidc",
    "services/notification",
    "gateway",
]


def catalogue_of(place: str) -> Path:
    folder = ROOT / place / "web" if place == "libs" else ROOT / place
    return folder / "translations" / "ru" / "LC_MESSAGES" / "messages.po"


@pytest.mark.parametrize("place", PLACES)
def test_every_word_is_translated(place: str, tmp_path: Path) -> None:
    template = tmp_path / "messages.pot"
    command = [
        sys.executable,
        "-m",
        "babel.messages.frontend",
        "-q",
        "extract",
        "-F",
        "babel.cfg",
        "-k",
        "lazy_gettext",
    ]
    subprocess.run([*command, "-o", str(template), place], cwd=ROOT, check=True)
    with template.open("rb") as file:
        wanted = {message.id for message in read_po(file) if message.id}
    with catalogue_of(place).open("rb") as file:
        catalogue = read_po(file, locale="ru")
    translated = {
        message.id for message in catalogue if message.id and _is_whole(message) and not message.fuzzy
    }
    assert wanted - translated == set(), f"not translated in {place}"
    assert translated - wanted == set(), f"no longer used in {place}"


def _is_whole(message: object) -> bool:
    text = message.string  # type: ignore[attr-defined]
    return all(text) if isinstance(text, tuple) else bool(text)


TEMPLATES = [
    file
    for place in ("libs", "services", "gateway")
    for file in sorted((ROOT / place).rglob("templates/**/*.html"))
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_template_holds_a_bare_word(template: Path) -> None:
    text = template.read_text()
    text = re.sub(r"\{% block width %\}\w+\{% endblock %\}", " ", text)
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.S)
    text = re.sub(r"<(style|script|code|title)[^>]*>.*?</\1>", " ", text, flags=re.S)
    attributes = re.findall(r'(?:aria-label|alt|placeholder|title)="([^"]*)"', text)
    text = re.sub(r"<[^>]*>", " ", text)
    text = re.sub(r'[\w-]+="[^"]*"', " ", text)  # attributes that a macro writes outside a tag
    words = re.findall(r"[A-Za-zА-Яа-я]{3,}", " ".join([text, *attributes]))
    allowed = {"UpdSpace", "nbsp", "middot", "rarr", "larr", "hellip", "times", "mdash", "ndash"}
    assert set(words) <= allowed, f"wrap it in _(): {sorted(set(words) - allowed)}"
