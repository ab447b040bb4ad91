"""What a look comes back with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`state` is `fine`, `weak` (works, and should be better), `wrong` (does not work) or `skipped`."""

    about: str
    state: str
    says: str
    fix: str = ""


def fine(about: str, says: str) -> Finding:
    return Finding(about, "fine", says)


def weak(about: str, says: str, fix: str) -> Finding:
    return Finding(about, "weak", says, fix)


def wrong(about: str, says: str, fix: str) -> Finding:
    return Finding(about, "wrong", says, fix)


def skipped(about: str, says: str) -> Finding:
    return Finding(about, "skipped", says)
