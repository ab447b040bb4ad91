"""How strong a sign-in a request asks for (`acr`, OpenID Connect Core §2, §5.5.1.1), and whether one is."""

from collections.abc import Iterable

from services.oidc.flows.clients.metadata import ACR_VALUES


def known(values: Iterable[str]) -> list[str]:
    """Those of ours, in the order in which they were asked for; others mean nothing here."""
    return [value for value in dict.fromkeys(values) if value in ACR_VALUES]


def is_as_strong(acr: str, wanted: str) -> bool:
    """Whether a sign-in proves at least as much as another word of ours says."""
    return _rank(acr) >= ACR_VALUES.index(wanted)


def strongest_met(acr: str, values: Iterable[str]) -> str | None:
    """The strongest of the values asked for that a sign-in reaches; None when it reaches none.

    A sign-in with two factors is one with one factor, too: whoever insists on a word gets that word.
    """
    met = [value for value in values if is_as_strong(acr, value)]
    return max(met, key=_rank, default=None)


def _rank(acr: str) -> int:
    return ACR_VALUES.index(acr) if acr in ACR_VALUES else -1
