"""Asking the rules: about an address that applies, about one that is confirmed, and for staff who want to know."""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.guard.ratelimit import neighbourhood
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.flows import people
from services.onboarding.flows.policies.rules import RULES, Case, Rule, Verdict
from services.onboarding.models import OPEN, Application, Invitation, Policy, fold

ADDRESS_WINDOW = timedelta(days=30)
NETWORK_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class Finding:
    """What a rule says of an address: `verdict` is None where it says nothing; the first that does `decides`."""

    rule: Rule
    setting: str
    verdict: Verdict | None
    decides: bool


@dataclass(frozen=True)
class Door:
    """To whom the form is open: `why` is the name of the rule that keeps the rest out, None where there is none."""

    why: str | None
    has_form: bool


def network_of(ip: str) -> str | None:
    """The network that an application counts for; None for this machine itself, and for what we could not see."""
    address = ipaddress.ip_address(ip)
    return None if address.is_loopback or address.is_unspecified else neighbourhood(ip)


def decide(*, email: str, network: str | None, invitation: Invitation | None = None) -> Verdict:
    """What happens to an application of this checked address from this network. One statement, whatever is known."""
    case = _case(email=email, network=network, is_invited=invitation is not None)
    return next(verdict for rule in RULES if (verdict := rule.says(case)))


def decide_on_confirmation(application: Application) -> Verdict:
    """The same once its address is confirmed, by the policy of this moment: what came before does not count again."""
    case = _case(email=application.email, network=None, is_invited=application.invitation_id is not None)
    return next(verdict for rule in RULES if not rule.counts and (verdict := rule.says(case)))


def explain(*, email: str, network: str | None = None, is_invited: bool = False) -> list[Finding]:
    """What each rule says of an address, in order; the first that says something decides."""
    case = _case(email=email, network=network, is_invited=is_invited)
    findings: list[Finding] = []
    is_decided = False
    for rule in RULES:
        verdict = None if is_decided else rule.says(case)
        findings.append(Finding(rule, rule.setting(case), verdict, decides=verdict is not None))
        is_decided = is_decided or verdict is not None
    return findings


def settings_of_rules() -> list[tuple[Rule, str]]:
    """The rules in order, with how each is set now."""
    case = _case(email="", network=None, is_invited=False)
    return [(rule, rule.setting(case)) for rule in RULES]


def look_at_door() -> Door:
    """Whether the form is shown, and what is said where it is not for everybody. One statement."""
    with db.single_statements() as session:
        policy, can_review = session.execute(sa.select(Policy, people.some_reviewer())).one()
    if policy.mode == "closed":
        return Door("closed", has_form=False)
    if policy.mode == "open" or (policy.mode == "review" and can_review):
        return Door(None, has_form=True)
    why = "invitation_only" if policy.mode == "invitation" else "nobody_to_review"
    return Door(why, has_form=bool(policy.trusted_domains))


def _case(*, email: str, network: str | None, is_invited: bool) -> Case:
    now = utcnow()
    closed_of_address = (
        sa.select(sa.func.count())
        .select_from(Application)
        .where(Application.email_folded == fold(email), Application.id >= first_uuid7(now - ADDRESS_WINDOW))
        .where(Application.state.not_in(OPEN))
        .scalar_subquery()
    )
    of_network: Any = sa.literal(0)
    if network is not None:
        of_network = (
            sa.select(sa.func.count())
            .select_from(Application)
            .where(Application.network == network, Application.id >= first_uuid7(now - NETWORK_WINDOW))
            .scalar_subquery()
        )
    row = db.session.execute(
        sa.select(Policy, closed_of_address, of_network, people.some_reviewer()),
        execution_options={"populate_existing": True},
    ).one()
    return Case(
        domain=fold(email).rpartition("@")[2],
        policy=row[0],
        settings=parts_of(current_app).settings,
        closed_of_address=row[1],
        of_network=row[2],
        is_invited=is_invited,
        can_review=row[3],
    )
