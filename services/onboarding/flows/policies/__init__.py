"""Who gets in how: rules in one order, one row of settings that staff change, and the verdict on an address."""

from services.onboarding.flows.policies.changing import InvalidPolicy, PolicyChanged, change, get_policy
from services.onboarding.flows.policies.deciding import (
    Door,
    Finding,
    decide,
    decide_on_confirmation,
    explain,
    look_at_door,
    network_of,
    settings_of_rules,
)
from services.onboarding.flows.policies.rules import (
    APPROVED,
    REFUSED,
    REVIEW,
    RULES,
    Rule,
    Verdict,
    covers,
)

__all__ = [
    "APPROVED",
    "REFUSED",
    "REVIEW",
    "RULES",
    "Door",
    "Finding",
    "InvalidPolicy",
    "PolicyChanged",
    "Rule",
    "Verdict",
    "change",
    "covers",
    "decide",
    "decide_on_confirmation",
    "explain",
    "get_policy",
    "look_at_door",
    "network_of",
    "settings_of_rules",
]
