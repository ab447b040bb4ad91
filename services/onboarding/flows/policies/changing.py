"""Changing the policy: one row, a version that grows, and an audit entry with before and after."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.models import MODES, Policy
from services.onboarding.schemas.forms import ascii_domain

TARGET = "policy:onboarding"
MOST_DOMAINS = 1000
MOST_PER_ADDRESS = 100
MOST_PER_NETWORK = 100_000


class InvalidPolicy(Problem):
    """The policy cannot be so; `errors` says what, by field."""

    status, slug, title = 422, "invalid-policy", lazy_gettext("The policy cannot be set so")


class PolicyChanged(Problem):
    """Somebody changed the policy since it was looked at."""

    status, slug, title = 412, "policy-changed", lazy_gettext("Somebody changed the policy meanwhile")


def get_policy() -> Policy:
    """The policy as it stands."""
    with db.single_statements() as session:
        return session.scalars(sa.select(Policy)).one()


def change(
    *,
    expected: int | None = None,
    mode: str | None = None,
    trusted_domains: Iterable[str] | None = None,
    refused_domains: Iterable[str] | None = None,
    most_per_address: int | None = None,
    most_per_network: int | None = None,
    trust: Iterable[str] = (),
    distrust: Iterable[str] = (),
    refuse: Iterable[str] = (),
    accept: Iterable[str] = (),
) -> Policy:
    """Change what is named, and say in the audit what it was. Lists are replaced whole, or added to and taken from.

    `expected` is the version that was looked at. Raises InvalidPolicy, PolicyChanged.
    """
    with db.transaction() as session:
        policy = session.scalars(
            sa.select(Policy).with_for_update().execution_options(populate_existing=True)
        ).one()
        if expected is not None and policy.version != expected:
            raise PolicyChanged(gettext("Look at what stands there now, then decide anew."))
        errors: dict[str, Any] = {}
        trusted = policy.trusted_domains if trusted_domains is None else trusted_domains
        refused = policy.refused_domains if refused_domains is None else refused_domains
        wanted = {
            "mode": mode if mode is not None else policy.mode,
            "trusted_domains": _domains(errors, "trusted_domains", trusted, trust, distrust),
            "refused_domains": _domains(errors, "refused_domains", refused, refuse, accept),
            "most_per_address": policy.most_per_address if most_per_address is None else most_per_address,
            "most_per_network": policy.most_per_network if most_per_network is None else most_per_network,
        }
        _check(errors, wanted)
        before = {
            name: getattr(policy, name) for name, value in wanted.items() if getattr(policy, name) != value
        }
        if not before:
            return policy
        for name in before:
            setattr(policy, name, wanted[name])
        policy.version += 1
        policy.changed_at, policy.changed_by = utcnow(), current_actor()
        audit.record(
            "policy.changed", target=TARGET, before=before, after={name: wanted[name] for name in before}
        )
        return policy


def _check(errors: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises InvalidPolicy where something cannot be so."""
    if wanted["mode"] not in MODES:
        errors["mode"] = gettext("Choose one of: %(modes)s.", modes=", ".join(MODES))
    for name, most in (("most_per_address", MOST_PER_ADDRESS), ("most_per_network", MOST_PER_NETWORK)):
        if not 1 <= wanted[name] <= most:
            errors[name] = gettext("Enter a number from 1 to %(most)s.", most=most)
    both = sorted(set(wanted["trusted_domains"]) & set(wanted["refused_domains"]))
    if both:
        errors["refused_domains"] = gettext("%(domain)s cannot be trusted and refused.", domain=both[0])
    if errors:
        raise InvalidPolicy(gettext("Nothing was changed."), errors=errors)


def _domains(
    errors: dict[str, Any], field: str, present: Iterable[str], added: Iterable[str], removed: Iterable[str]
) -> list[str]:
    """A list of domains in the form in which they are compared, in order, each once."""
    found = {*map(_domain, present), *map(_domain, added)} - set(map(_domain, removed))
    for domain in sorted(found):
        if not ascii_domain(domain):
            errors[field] = gettext("%(domain)s is no mail domain.", domain=domain[:100] or "—")
    if len(found) > MOST_DOMAINS:
        errors[field] = gettext("Name %(most)s domains at most.", most=MOST_DOMAINS)
    return sorted(found)


def _domain(typed: str) -> str:
    """What somebody typed as a domain, in that form where it is one."""
    text = typed.strip().removeprefix("@")
    return ascii_domain(text) or text.lower()
