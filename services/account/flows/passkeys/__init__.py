"""Passkeys (W3C Web Authentication Level 3): made, kept, and answered with, alone or as a second factor."""

from services.account.flows.passkeys.ceremonies import NewPasskey, PasskeyNotTaken, verify_new
from services.account.flows.passkeys.challenges import (
    ENROL,
    Challenge,
    ChallengeEnded,
    Question,
    open_challenge,
    spend,
)
from services.account.flows.passkeys.keeping import (
    AlreadyAdded,
    TooManyPasskeys,
    UnknownPasskey,
    add_passkey,
    ask_for_first,
    ask_for_new,
    get_passkey,
    list_passkeys,
    remove_passkey,
    rename_passkey,
    store_passkey,
)
from services.account.flows.passkeys.proving import (
    PasskeyRefused,
    ask_for_second_factor,
    ask_to_sign_in,
    evidence_of,
    sign_in_with_passkey,
    verify_second_factor,
)

__all__ = [
    "ENROL",
    "AlreadyAdded",
    "Challenge",
    "ChallengeEnded",
    "NewPasskey",
    "PasskeyNotTaken",
    "PasskeyRefused",
    "Question",
    "TooManyPasskeys",
    "UnknownPasskey",
    "add_passkey",
    "ask_for_first",
    "ask_for_new",
    "ask_for_second_factor",
    "ask_to_sign_in",
    "evidence_of",
    "get_passkey",
    "list_passkeys",
    "open_challenge",
    "remove_passkey",
    "rename_passkey",
    "sign_in_with_passkey",
    "spend",
    "store_passkey",
    "verify_new",
    "verify_second_factor",
]
