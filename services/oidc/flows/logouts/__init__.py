"""Telling clients that a sign-in is over: recorded with what ends it, delivered until they have it, seen by staff."""

from services.oidc.flows.logouts.delivering import (
    RESULTS,
    Delivery,
    Outcome,
    claim,
    delivered,
    dropped,
    failed,
    refused,
    settle,
    unanswered,
)
from services.oidc.flows.logouts.desk import (
    PAGE,
    STATES,
    NothingToRetry,
    UnknownDelivery,
    count_parked,
    gauges,
    list_deliveries,
    retry,
    retry_parked,
)
from services.oidc.flows.logouts.recording import SignedOut, clients_to_show, tell_clients

__all__ = [
    "PAGE",
    "RESULTS",
    "STATES",
    "Delivery",
    "NothingToRetry",
    "Outcome",
    "SignedOut",
    "UnknownDelivery",
    "claim",
    "clients_to_show",
    "count_parked",
    "delivered",
    "dropped",
    "failed",
    "gauges",
    "list_deliveries",
    "refused",
    "retry",
    "retry_parked",
    "settle",
    "tell_clients",
    "unanswered",
]
