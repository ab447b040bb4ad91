"""The rules, in the order in which they are asked: the first that has something to say decides.

A rule that refuses may do so openly, or quietly: whoever is refused quietly sees what everybody sees, and nothing
happens. Quiet are those that look at what came before, since what they know is about applications of others, too.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext, lazy_gettext

from services.onboarding.models import Policy
from services.onboarding.settings import OnboardingSettings

APPROVED, REVIEW, REFUSED = "approved", "review", "refused"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What happens to an application of this address: approved once the address is confirmed, reviewed, or refused.

    `words` say why an open refusal is one, for the applicant.
    """

    outcome: str
    rule: str
    words: Any = ""
    is_quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rules look at."""

    domain: str
    policy: Policy
    settings: OnboardingSettings
    closed_of_address: int = 0
    """Applications of this address in 30 days that are not open any more."""
    of_network: int = 0
    """Applications from this network in a day."""
    is_invited: bool = False
    can_review: bool = True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`words`: what it does. `setting`: how it is set now. `says`: what it makes of a case (None: ask the next one)."""

    name: str
    words: Any
    setting: Callable[[Case], str]
    says: Callable[[Case], Verdict | None]
    counts: bool = False
    """Whether it looks at what came before: asked when an application comes, not when its address is confirmed."""


def covers(domains: Collection[str], domain: str) -> bool:
    """Whether one of the domains is this one or above it: what refuses a domain refuses all below it."""
    labels = domain.split(".")
    return any(".".join(labels[start:]) in domains for start in range(len(labels) - 1))


def _refuse(rule: str, words: Any, *, quietly: bool = False) -> Verdict:
    return Verdict(outcome=REFUSED, rule=rule, words=words, is_quiet=quietly)


def _closed(case: Case) -> Verdict | None:
    if case.policy.mode != "closed":
        return None
    return _refuse("closed", lazy_gettext("Nobody can join at the moment. Please come back later."))


def _refused_domain(case: Case) -> Verdict | None:
    if not covers(case.policy.refused_domains, case.domain):
        return None
    return _refuse(
        "refused_domain",
        lazy_gettext("Addresses of %(domain)s cannot be used here: use another one.", domain=case.domain),
    )


def _disposable_domain(case: Case) -> Verdict | None:
    if not covers(case.settings.disposable_domains, case.domain):
        return None
    return _refuse(
        "disposable_domain",
        lazy_gettext("Addresses of %(domain)s do not last: use one that you will keep.", domain=case.domain),
    )


def _is_told_no(case: Case) -> bool:
    """Whether everybody with such an address is refused openly, so that a quiet no would tell what came before."""
    later = (_trusted_domain, _open, _invitation_only, _review, _nobody_to_review)
    return next(verdict for says in later if (verdict := says(case))).outcome == REFUSED


def _address_cap(case: Case) -> Verdict | None:
    if case.closed_of_address < case.policy.most_per_address or _is_told_no(case):
        return None
    return _refuse("address_cap", lazy_gettext("Too many applications of this address"), quietly=True)


def _network_cap(case: Case) -> Verdict | None:
    if case.of_network < case.policy.most_per_network or _is_told_no(case):
        return None
    return _refuse("network_cap", lazy_gettext("Too many applications from this network"), quietly=True)


def _invitation(case: Case) -> Verdict | None:
    return Verdict(outcome=APPROVED, rule="invitation") if case.is_invited else None


def _trusted_domain(case: Case) -> Verdict | None:
    # Exactly this one: who owns a domain hands out names below it to whom they like.
    is_trusted = case.domain in case.policy.trusted_domains
    return Verdict(outcome=APPROVED, rule="trusted_domain") if is_trusted else None


def _open(case: Case) -> Verdict | None:
    return Verdict(outcome=APPROVED, rule="open") if case.policy.mode == "open" else None


def _invitation_only(case: Case) -> Verdict | None:
    if case.policy.mode != "invitation":
        return None
    return _refuse(
        "invitation_only",
        lazy_gettext("People join by invitation here: ask a member of the community for one."),
    )


def _review(case: Case) -> Verdict | None:
    return Verdict(outcome=REVIEW, rule="review") if case.can_review else None


def _nobody_to_review(case: Case) -> Verdict | None:
    return _refuse(
        "nobody_to_review",
        lazy_gettext("Nobody is there to read applications at the moment. Please come back later."),
    )


def _mode(case: Case) -> str:
    return gettext("mode %(mode)s", mode=case.policy.mode)


def _listed(domains: Collection[str]) -> str:
    return ", ".join(sorted(domains)) or gettext("none")


def _reviewers(case: Case) -> str:
    return gettext("there are reviewers") if case.can_review else gettext("there is no reviewer")


RULES: tuple[Rule, ...] = (
    Rule(
        name="closed",
        words=lazy_gettext("While the mode is closed, nobody may join."),
        setting=_mode,
        says=_closed,
    ),
    Rule(
        name="refused_domain",
        words=lazy_gettext("Addresses of these domains, and of those below them, are refused."),
        setting=lambda case: _listed(case.policy.refused_domains),
        says=_refused_domain,
    ),
    Rule(
        name="disposable_domain",
        words=lazy_gettext(
            "Addresses that do not last are refused: domains of the settings, and below them."
        ),
        setting=lambda case: gettext("domains: %(number)s", number=len(case.settings.disposable_domains)),
        says=_disposable_domain,
    ),
    # Before what is quiet: staff have asked this person, and their uses are counted.
    Rule(
        name="invitation",
        words=lazy_gettext("Whoever comes by an invitation needs no review."),
        setting=lambda case: gettext("always"),
        says=_invitation,
    ),
    Rule(
        name="address_cap",
        words=lazy_gettext("After so many applications in 30 days an address is quietly sent nothing more."),
        setting=lambda case: gettext("%(number)s in 30 days", number=case.policy.most_per_address),
        says=_address_cap,
        counts=True,
    ),
    Rule(
        name="network_cap",
        words=lazy_gettext("After so many applications in a day a network is quietly sent nothing more."),
        setting=lambda case: gettext("%(number)s in a day", number=case.policy.most_per_network),
        says=_network_cap,
        counts=True,
    ),
    Rule(
        name="trusted_domain",
        words=lazy_gettext(
            "Whoever confirms an address of exactly one of these domains needs no review. "
            "Domains below them are not meant."
        ),
        setting=lambda case: _listed(case.policy.trusted_domains),
        says=_trusted_domain,
    ),
    Rule(
        name="open",
        words=lazy_gettext("While the mode is open, whoever confirms an address needs no review."),
        setting=_mode,
        says=_open,
    ),
    Rule(
        name="invitation_only",
        words=lazy_gettext("While the mode is invitation, everybody else is refused."),
        setting=_mode,
        says=_invitation_only,
    ),
    Rule(
        name="review",
        words=lazy_gettext("Everybody else is reviewed, where there is somebody to do it."),
        setting=_reviewers,
        says=_review,
    ),
    Rule(
        name="nobody_to_review",
        words=lazy_gettext("Without anybody who could review, nothing is taken that nobody would answer."),
        setting=_reviewers,
        says=_nobody_to_review,
    ),
)
