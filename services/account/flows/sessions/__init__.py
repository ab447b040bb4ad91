"""Sign-in sessions: begun, found again, resumed, listed, cleared. Not OAuth tokens: those are oidc's."""

from services.account.flows.sessions.beginning import SignIn, StandingChanged, begin_session
from services.account.flows.sessions.finding import (
    CannotResume,
    HeldSession,
    find_session,
    held_sessions,
    resume,
)
from services.account.flows.sessions.listing import (
    UnknownSession,
    end_other_sessions,
    end_session,
    fold_uses,
    list_sessions,
)
from services.account.flows.sessions.renewing import renew_secret
from services.account.flows.sessions.upkeep import clear_expired_sessions
from services.account.flows.sessions.use import fold_seen

__all__ = [
    "CannotResume",
    "HeldSession",
    "SignIn",
    "StandingChanged",
    "UnknownSession",
    "begin_session",
    "clear_expired_sessions",
    "end_other_sessions",
    "end_session",
    "find_session",
    "fold_seen",
    "fold_uses",
    "held_sessions",
    "list_sessions",
    "renew_secret",
    "resume",
]
