"""Passwords that guessers try first: common words, runs of keys, and words about the person or the service.

A long password is refused when little is left of it once all of these are taken out. The long lists of words that
many people use are zxcvbn's, in strength.py; these are the ones that it lacks or that count here in another way.
"""

import re
import unicodedata
from collections.abc import Iterable

SERVICE_WORDS = ("updspaceid", "updspace", "upd", "space")

_COMMON_WORDS = """
    password passwort passwd parola пароль парол qwerty qwertz azerty йцукен letmein welcome login signin logon
    admin administrator root user username guest master manager secret private access account changeme change
    default temporary temp test testing demo sample example hello hi hey good morning night bye iloveyou love lover
    loveyou baby honey sweet sweetheart angel princess prince queen king superman batman spiderman pokemon starwars
    dragon monkey tiger lion shadow sunshine sun moon star stars flower butterfly summer winter spring autumn
    january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday football soccer baseball basketball hockey liverpool chelsea arsenal barcelona
    juventus computer internet google facebook twitter telegram github discord samsung apple iphone android windows
    linux microsoft money dollar bitcoin trustno1 whatever nothing forever freedom lucky happy smile jesus god lord
    michael jessica daniel thomas andrew ashley jennifer michelle charlie jordan robert matthew
    любовь люблю любимая любимый любимка привет солнце солнышко зайка заяц зайчик зайчонок котенок котёнок котик кошка
    кот киска собака мышка рыбка малыш малышка мама мамочка папа сестра брат бабушка дедушка семья дети сын дочка
    наташа настя саша маша катя лена оля аня ира света таня юля вика даша ксюша алина марина елена ольга анна ирина
    светлана татьяна юлия виктория дарья екатерина мария анастасия наталья людмила галина надежда вера андрей сергей
    дмитрий дима александр алексей максим иван ваня владимир вова денис роман антон артем артём никита евгений женя
    михаил миша николай коля павел паша олег игорь виталий виктор юрий егор кирилл илья данил руслан вадим влад
    владислав москва россия питер украина киев минск родина победа спартак зенит динамо локомотив цска мафия король
    принцесса ангел ангелочек демон вампир дракон волк тигр лев медведь бог господи счастье удача дружба жизнь мечта
    красота весна лето осень зима январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь
    понедельник вторник среда четверг пятница суббота воскресенье деньги работа школа институт компьютер интернет
    телефон машина самолет самолёт музыка футбол хоккей секрет тайна админ администратор пользователь логин вход
    доступ ключ вконтакте одноклассники привет пока спасибо пожалуйста хорошо один два три четыре пять шесть семь
    восемь девять десять мой моя моё мое твой твоя наш ваш очень самый самая тебя меня всегда навсегда никогда
    my your the and one two three four five six seven eight nine ten me you is in it for this that with
"""

KEY_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
)
_LOOKALIKES = str.maketrans("@$013457", "asoleast")
LEAST_OWN_CHARACTERS = 5
"""What must be left, counted in different characters, for a password to be its owner's idea."""
SIGNS_FOR_FREE = 3
"""Different signs that anybody adds to a common word; more of them are an idea of one's own."""
SHORTEST_PERIOD = 8
"""A unit shorter than this, again and again, is no longer for it."""
SHORTEST_RUN = 3


def is_guessable(password: str, context: Iterable[str]) -> bool:
    """Whether hardly anything is left without repetition, key runs, common words and `context`."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    if _period(folded) < SHORTEST_PERIOD:
        return True
    words = sorted({*SERVICE_WORDS, *listed_words(), *context_words(context)}, key=len, reverse=True)
    signs = {sign for sign in folded if _is_punctuation(sign)}
    needed = LEAST_OWN_CHARACTERS - max(len(signs) - SIGNS_FOR_FREE, 0)
    # Read as typed, and with the usual stand-ins for letters undone: P@ssw0rd is password.
    forms = (folded, folded.translate(_LOOKALIKES))
    return any(_own_characters(_without_punctuation(form), words) < needed for form in forms)


def _own_characters(text: str, words: list[str]) -> int:
    """How many different characters are left once everything is taken out that a guesser would put in.

    `words` come longest first, so that a part of one does not hide the whole.
    """
    if _period(text) < SHORTEST_PERIOD:
        return 0
    for word in words:
        text = text.replace(word, " ")
    text = _without_key_runs(text)
    # A year or a counter beside a common word adds nothing.
    text = re.sub(r"(?<!\S)\d{1,4}(?!\S)", "", text)
    return len(set(text.replace(" ", "")))


def _is_punctuation(sign: str) -> bool:
    """Signs on every keyboard, which people put between and behind words."""
    return not sign.isalnum() and (sign.isascii() or sign.isspace())


def _without_punctuation(text: str) -> str:
    return "".join(sign for sign in text if not _is_punctuation(sign))


def listed_words() -> list[str]:
    """Our own list of common words."""
    return list(dict.fromkeys(_COMMON_WORDS.split()))


def context_words(context: Iterable[str]) -> list[str]:
    """What a guesser would try for this person and this service: each phrase, its words, and our names."""
    found = list(SERVICE_WORDS)
    for phrase in context:
        folded = unicodedata.normalize("NFKC", phrase).casefold()
        found += [part for part in re.split(r"[\W_]+", folded) if len(part) >= SHORTEST_RUN]
        found.append(_without_punctuation(folded))
    return list(dict.fromkeys(filter(None, found)))


def _period(text: str) -> int:
    """The length of the shortest unit that the text repeats, with a cut end: 3 for `abcabcabca`."""
    sizes = range(1, len(text) // 2 + 1)
    return next((size for size in sizes if text[size:] == text[:-size]), len(text) or SHORTEST_PERIOD)


def _without_key_runs(text: str) -> str:
    kept = []
    position = 0
    while position < len(text):
        length = _run_length(text, position)
        if length >= SHORTEST_RUN:
            kept.append(" ")
            position += length
        else:
            kept.append(text[position])
            position += 1
    return "".join(kept)


def _run_length(text: str, start: int) -> int:
    """How far a run of neighbouring keys or letters, forwards or backwards, reaches from here."""
    longest = 1
    for keys in KEY_RUNS:
        for run in (keys, keys[::-1]):
            at = run.find(text[start])
            length = 0
            while (
                at >= 0
                and at + length < len(run)
                and text[start + length : start + length + 1] == run[at + length]
            ):
                length += 1
            longest = max(longest, length)
    return longest
