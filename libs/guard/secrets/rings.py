"""A ring of keys takes its turn: a new key at its end, that key in front, what is in front alone.

It is read from what the cluster's Secret holds, and written as what the Secret is to hold, so that whoever turns it has
only to carry both. Keys are called by names that may be shown: their kid, or of SECRET_KEY, which has none, the
fingerprint.
"""

import base64
from dataclasses import dataclass, field
from typing import Any, Self

from libs.guard.keyring import KeyRing
from libs.guard.secrets import fingerprints, fresh
from libs.guard.secrets.strength import RINGS
from libs.settings import Settings, SettingsError

TURNING = ("SECRET_KEY", *RINGS)


class CannotTurn(Exception):
    """Why a step is not taken, as a sentence that repeats nothing secret."""


@dataclass(frozen=True)
class Ring:
    """The first key is in use, all are understood. SECRET_KEY is the first of one whose others are its fallbacks."""

    setting: str
    keys: tuple[str, ...] = field(repr=False)

    @classmethod
    def read(cls, setting: str, text: str) -> Self:
        """From entries of the Secret as kubectl prints them: base64, of SECRET_KEY its own and the fallbacks'."""
        if not text or text[0].isspace():
            raise CannotTurn(f"No {setting} came by stdin: the Secret holds none, or did not answer.")
        try:
            values = [base64.b64decode(word, validate=True).decode() for word in text.split()]
        except ValueError:
            raise CannotTurn(
                f"What came by stdin is no {setting} of a Secret: it has to be base64."
            ) from None
        keys = tuple(key for value in values for part in value.split(",") if (key := part.strip()))
        if setting in RINGS:
            try:
                KeyRing.parse(",".join(keys), setting=setting)
            except SettingsError as error:
                raise CannotTurn(str(error)) from None
        return cls(setting, keys)

    @classmethod
    def of(cls, settings: Settings, setting: str) -> Self:
        """The one that this process began with."""
        if setting == "SECRET_KEY":
            return cls(setting, (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))
        return cls(
            setting, tuple(part.strip() for part in getattr(settings, setting).split(",") if part.strip())
        )

    @property
    def names(self) -> list[str]:
        if self.setting == "SECRET_KEY":
            return [fingerprints.of_secret_key(key) for key in self.keys]
        return [key.partition(":")[0] for key in self.keys]

    def with_new(self) -> Self:
        """A fresh key at the end: understood, and not used."""
        return type(self)(self.setting, (*self.keys, fresh.MAKERS[self.setting]()))

    def promoted(self, name: str, *, known: Self) -> Self:
        """That key in front. Raises CannotTurn for one that the ring, or a process that began with `known`, has not."""
        names = self.names
        if name not in names:
            raise CannotTurn(
                f"{self.setting} has no key {name or '(none was named)'}. It has {', '.join(names)}, the first in use: "
                "name the one that adding it printed."
            )
        if name not in known.names:
            raise CannotTurn(
                f"This process does not know {name} yet, for it began before: restart everything, and wait for the end."
            )
        key = self.keys[names.index(name)]
        return type(self)(self.setting, (key, *(other for other in self.keys if other != key)))

    def trimmed(self, *, known: Self) -> Self:
        """The one in front alone. Raises CannotTurn while a process that began with `known` uses another."""
        name, used = self.names[0], known.names[0]
        if name != used:
            raise CannotTurn(
                f"This process uses {used} still, and not {name}: restart everything, and wait for the end."
            )
        return type(self)(self.setting, self.keys[:1])

    def as_patch(self) -> dict[str, Any]:
        """What the Secret becomes, for `kubectl patch --type=merge`."""
        first, *others = self.keys
        if self.setting == "SECRET_KEY":
            return {"stringData": {"SECRET_KEY": first, "SECRET_KEY_FALLBACKS": ",".join(others)}}
        return {"stringData": {self.setting: ",".join(self.keys)}}
