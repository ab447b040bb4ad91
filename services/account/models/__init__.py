"""account's tables, by what they are about."""

from services.account.models.credentials import (
    LinkedIdentity,
    Passkey,
    PasswordCredential,
    PasswordLink,
    PasswordRequest,
    ProviderVisit,
    RecoveryCode,
    SecondFactorReset,
    SpentChallenge,
    TOTPCredential,
)
from services.account.models.people import NAME_WORDS, ROLES, DataPart, DataRequest, EmailChange, Rule, User
from services.account.models.sign_in import (
    Block,
    KnownDevice,
    LoginEvent,
    RedisDebt,
    SecurityNotice,
    SignInAttempt,
    SignInSession,
)

__all__ = [
    "NAME_WORDS",
    "ROLES",
    "Block",
    "DataPart",
    "DataRequest",
    "EmailChange",
    "KnownDevice",
    "LinkedIdentity",
    "LoginEvent",
    "Passkey",
    "PasswordCredential",
    "PasswordLink",
    "PasswordRequest",
    "ProviderVisit",
    "RecoveryCode",
    "RedisDebt",
    "Rule",
    "SecondFactorReset",
    "SecurityNotice",
    "SignInAttempt",
    "SignInSession",
    "SpentChallenge",
    "TOTPCredential",
    "User",
]
