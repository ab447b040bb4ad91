"""Signing keys: they come, take turns and go by themselves, under one lock. What signs is protocol/keys.py.

next (published, not signing) → current (signing) → previous (verifying) → retired (listed, without its private half)
"""

from services.oidc.flows.keys.changes import ALWAYS, KEYS_LOCK, PUBLICATION, PUBLISHED
from services.oidc.flows.keys.listing import Listed, gauges, list_keys
from services.oidc.flows.keys.material import open_private_key, parse
from services.oidc.flows.keys.timing import LOOK_INTERVAL, timing
from services.oidc.flows.keys.turns import (
    NotReady,
    Replacement,
    Rotation,
    Turn,
    UnknownKey,
    replace_all,
    replace_suspects,
    retire,
    rotate,
)
from services.oidc.flows.keys.upkeep import ensure_algorithms, ensure_keys, rotate_due

__all__ = [
    "ALWAYS",
    "KEYS_LOCK",
    "LOOK_INTERVAL",
    "PUBLICATION",
    "PUBLISHED",
    "Listed",
    "NotReady",
    "Replacement",
    "Rotation",
    "Turn",
    "UnknownKey",
    "ensure_algorithms",
    "ensure_keys",
    "gauges",
    "list_keys",
    "open_private_key",
    "parse",
    "replace_all",
    "replace_suspects",
    "retire",
    "rotate",
    "rotate_due",
    "timing",
]
