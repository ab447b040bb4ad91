"""How hard a password is to guess: zxcvbn's estimate, taught Russian words and keyboards, and what it rests on.

zxcvbn() itself keeps the person's own words in a dictionary of its module, which all threads share, and takes
seconds over a text of many stand-ins for letters; here its parts work on dictionaries of this call, within bounds.
"""

import functools
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.account.flows.blocklist import context_words, listed_words

READ_CHARACTERS = 72
"""A password is judged by its beginning: the work of an estimate grows faster than its text."""
MOST_STAND_INS = 6
"""With more different stand-ins for letters (4, @, 3 …) a text is read as it stands: each doubles the readings."""
OWN_WORDS, RUSSIAN_WORDS = "own_words", "russian_words"

_LATIN = "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
_CYRILLIC = "йцукенгшщзхъфывапролджэячсмитьбюё"
_OTHER_LAYOUT = str.maketrans(_LATIN + _CYRILLIC, _CYRILLIC + _LATIN)

WEAKNESSES = {
    "repeat": "repetition",
    "spatial": "keys",
    "sequence": "sequence",
    "regex": "date",
    "date": "date",
}
NAMES = ("female_names", "male_names", "surnames")


@dataclass(frozen=True)
class Estimate:
    """`power`: ten to it is how many guesses a good guesser needs. `weakness`: what makes most of it guessable."""

    power: float
    weakness: str | None


def estimate(password: str, *, context: Iterable[str]) -> Estimate:
    """How many guesses it takes by one who knows the words of `context`; the fewest of all readings.

    A text is read as typed, and as if it had been typed on the other one of the two keyboard layouts.
    """
    text = unicodedata.normalize("NFKC", password)[:READ_CHARACTERS]
    if not text:
        return Estimate(power=0.0, weakness=None)
    dictionaries = {**_dictionaries(), OWN_WORDS: _ranked(context_words(context))}
    readings = (text, text.lower().translate(_OTHER_LAYOUT))
    return min((_read(reading, dictionaries) for reading in readings), key=lambda one: one.power)


def _read(text: str, dictionaries: Mapping[str, Mapping[str, int]]) -> Estimate:
    from zxcvbn.scoring import most_guessable_match_sequence

    result = most_guessable_match_sequence(text, _matches(text, dictionaries))
    found = [match for match in result["sequence"] if match["pattern"] != "bruteforce"]
    longest = max(found, key=lambda match: len(match["token"]), default=None)
    return Estimate(power=float(result["guesses_log10"]), weakness=_weakness(longest) if longest else None)


def _matches(text: str, dictionaries: Mapping[str, Mapping[str, int]]) -> list[Any]:
    from zxcvbn import matching

    stand_ins = {sign for signs in matching.L33T_TABLE.values() for sign in signs}
    if len(stand_ins & set(text)) <= MOST_STAND_INS:
        found: list[Any] = matching.omnimatch(text, dictionaries)
        for match in found:
            if match["pattern"] == "repeat":
                # zxcvbn reads what is repeated with its own lists alone.
                power = _read(match["base_token"], dictionaries).power
                match["base_guesses"] = min(match["base_guesses"], math.ceil(10**power))
        return found
    # Repetitions are left out with the stand-ins: what is repeated would be read with them. blocklist.py sees them.
    matchers = (
        matching.dictionary_match,
        matching.reverse_dictionary_match,
        matching.spatial_match,
        matching.sequence_match,
        matching.regex_match,
        matching.date_match,
    )
    return [match for matcher in matchers for match in matcher(text, _ranked_dictionaries=dictionaries)]


def _weakness(match: Mapping[str, Any]) -> str:
    if match["pattern"] != "dictionary":
        return WEAKNESSES[match["pattern"]]
    dictionary = match["dictionary_name"]
    if dictionary == OWN_WORDS:
        return "own_word"
    if dictionary in NAMES:
        return "name"
    return "common_password" if dictionary == "passwords" else "common_word"


@functools.cache
def _dictionaries() -> Mapping[str, Mapping[str, int]]:
    """zxcvbn's frequency lists and our words, ranked. Loaded when the first password is set, not at every start."""
    from zxcvbn import matching

    lists = {name: words for name, words in matching.RANKED_DICTIONARIES.items() if name != "user_inputs"}
    return {**lists, RUSSIAN_WORDS: _ranked(listed_words())}


def _ranked(words: Iterable[str]) -> dict[str, int]:
    return {word: rank for rank, word in enumerate(words, 1)}
