"""Every mail as its reader gets it, held against the golden files beside this test.

After a change that is meant: `RENEW_LETTERS=1 python3 dev.py test tests/notification/test_golden_letters.py`, then read
the difference as a reader would.
"""

import os
from pathlib import Path

import pytest
from flask import Flask

from libs.web.languages import LANGUAGES
from services.notification.letters import LETTERS, letter_of
from services.notification.letters.letter import sample
from services.notification.writing import Mail, write
from tests.pages import ORIGIN

FOLDER = Path(__file__).parent / "letters"
IS_RENEWED = bool(os.environ.get("RENEW_LETTERS"))


def files_of(name: str, mail: Mail) -> dict[Path, str]:
    return {
        FOLDER / f"{name}.{mail.language}.txt": f"Subject: {mail.subject}\n\n{mail.text}",
        FOLDER / f"{name}.{mail.language}.html": mail.html.rstrip("\n") + "\n",
    }


@pytest.mark.parametrize("name", sorted(LETTERS))
@pytest.mark.parametrize("language", list(LANGUAGES))
def test_a_mail_reads_as_its_golden_files(app: Flask, name: str, language: str) -> None:
    with app.app_context():
        mail = write(sample(letter_of(name), public_url=ORIGIN), language=language)
    for file, text in files_of(name, mail).items():
        if IS_RENEWED:
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"no golden file {file.name}: RENEW_LETTERS=1 makes it"
        assert file.read_text(encoding="utf-8") == text, (
            f"{file.name}: RENEW_LETTERS=1 renews it, if it is meant"
        )


def test_every_golden_file_is_of_a_mail() -> None:
    known = {f"{name}.{language}" for name in LETTERS for language in LANGUAGES}
    found = {file.stem for file in FOLDER.iterdir()}
    assert found == known, "delete what no mail is called"
