"""When each alert is to fire and when it is to keep quiet, as series (`promtool test rules`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LOGINS, FAILED_LOGINS = "id_auth_login_attempts_total", "id_auth_login_failure_total"
ISSUED = 'id_oidc_token_issued_total{grant="authorization_code"}'
REFUSED = 'id_oidc_token_failed_total{grant="authorization_code",error="invalid_grant"}'
LIMITS = 'id_rate_limit_triggered_total{scope="login"}'
ANSWERS = 'id_http_request_total{service="account",method="GET",status="200"}'
ERRORS = 'id_http_request_total{service="account",method="GET",status="500"}'
QUICK = 'id_http_request_duration_seconds_bucket{service="account",le="0.5"}'
SLOW = 'id_http_request_duration_seconds_bucket{service="account",le="1"}'
ALL = 'id_http_request_duration_seconds_bucket{service="account",le="+Inf"}'
SENT, UNREACHABLE = 'id_email_sent_total{result="sent"}', 'id_email_sent_total{result="unreachable"}'
REFUSED_MAIL = 'id_email_sent_total{result="refused"}'
NO_KEY = 'id_oidc_next_key_missing{alg="RS256"}'
SERVICE = 'id_health_service_status{service="account"}'
COMPONENT = 'id_health_component_status{component="email"}'
BREAKER = 'id_breaker_state{name="smtp"}'
QUEUE, MAILS = 'id_queue_depth{queue="account"}', 'id_queue_depth{queue="mail"}'
OLDEST, PARKED = 'id_events_oldest_seconds{service="account"}', 'id_events_parked{service="account"}'
HEARTBEAT = 'id_worker_heartbeat_seconds{service="account"}'
SWEEPS = 'id_tasks_done_total{task="account.relay_outbox",outcome="success"}'
TASK_FAILURES = 'id_tasks_done_total{task="account.erase_due",outcome="failure"}'
CLEANUP = 'id_cleanup_last_success_seconds{job="account.clear_events"}'
BEAT = "id_beat_last_run_seconds"
CONNECTIONS = 'id_db_server_connections{service="account"}'
MOST_CONNECTIONS = 'id_db_server_connections_max{service="account"}'
UNOPENED = 'id_sealed_rows_unopened{service="account"}'
BACKUP = "id_backup_last_success_seconds"
WEB = 'up{job="id-web",component="account",instance="a"}'
OTHER_WEB = 'up{job="id-web",component="account",instance="b"}'


def idle(steps: int, step: int = 1) -> dict[str, str]:
    """A suite that nobody uses, a value every `step` minutes: counters stand, what lives by the clock moves."""
    clock = f"{60 * step}x{steps}"
    standing = [LOGINS, FAILED_LOGINS, ISSUED, REFUSED, LIMITS, ANSWERS, ERRORS, QUICK, SLOW, ALL]
    standing += [SENT, UNREACHABLE, REFUSED_MAIL, NO_KEY, SERVICE, COMPONENT, BREAKER]
    standing += [QUEUE, MAILS, OLDEST, PARKED, TASK_FAILURES, UNOPENED]
    return {
        **dict.fromkeys(standing, f"0x{steps}"),
        HEARTBEAT: f"0+{clock}",
        BEAT: f"0+{clock}",
        SWEEPS: f"0+12x{steps}",
        CLEANUP: f"1+{clock}",
        BACKUP: f"1+{clock}",
        CONNECTIONS: f"10x{steps}",
        MOST_CONNECTIONS: f"97x{steps}",
        WEB: f"1x{steps}",
        OTHER_WEB: f"1x{steps}",
    }


SLOWLY = 20
"""Minutes between two values, where days go by."""
ABSENT = ""
"""Instead of values: nobody shows the series."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An idle suite but for `bad` has no alert `early` and exactly this one `late`; but for `good`, none.

    Moments count in steps of `step` minutes, as values do.
    """

    alert: str
    bad: Mapping[str, str]
    good: Mapping[str, str]
    early: int
    late: int
    step: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those that say which one it is about."""


CASES = (
    Case(
        alert="IdAuthFailureRateHigh",
        bad={LOGINS: "0+100x40", FAILED_LOGINS: "0+11x40"},
        good={LOGINS: "0+100x40", FAILED_LOGINS: "0+9x40"},
        early=4,
        late=12,
    ),
    Case(
        # Somebody mistypes a password twice in a quiet night.
        alert="IdAuthFailureRateHigh",
        bad={LOGINS: "0+2x40", FAILED_LOGINS: "0+2x40"},
        good={LOGINS: "0 0 0 1 2 2x35", FAILED_LOGINS: "0 0 0 1 2 2x35"},
        early=4,
        late=25,
    ),
    Case(
        alert="IdTokenSuccessRateLow",
        bad={ISSUED: "0+94x40", REFUSED: "0+6x40"},
        good={ISSUED: "0+96x40", REFUSED: "0+4x40"},
        early=4,
        late=12,
    ),
    Case(
        alert="IdRateLimitsSustained",
        bad={LIMITS: "0+66x40"},
        good={LIMITS: "0+54x40"},
        early=9,
        late=15,
        labels={"scope": "login"},
    ),
    Case(
        alert="IdNextKeyMissing",
        bad={NO_KEY: "1x60"},
        good={NO_KEY: "1x20 0x40"},
        early=25,
        late=40,
        labels={"alg": "RS256"},
    ),
    Case(
        alert="IdServiceDown",
        bad={WEB: "1x5 0x20", OTHER_WEB: "1x5 0x20"},
        good={WEB: "1x5 0x20"},
        early=7,
        late=10,
        labels={"component": "account"},
    ),
    Case(
        alert="IdUnhealthy",
        bad={SERVICE: "0x5 2x20"},
        good={SERVICE: "0x5 2 0x20"},
        early=5,
        late=10,
        labels={"service": "account"},
    ),
    Case(
        alert="IdDegraded",
        bad={COMPONENT: "1x20"},
        good={COMPONENT: "1x5 0x20"},
        early=8,
        late=12,
        labels={"component": "email"},
    ),
    Case(alert="IdHealthUnknown", bad={SERVICE: ABSENT}, good={}, early=4, late=8),
    Case(
        alert="IdErrorsHigh",
        bad={ANSWERS: "0+90x30", ERRORS: "0+10x30"},
        good={ANSWERS: "0+96x30", ERRORS: "0+4x30"},
        early=4,
        late=12,
        labels={"service": "account"},
    ),
    Case(
        alert="IdLatencyHigh",
        bad={ANSWERS: "0+100x30", QUICK: "0+97x30", SLOW: "0+100x30", ALL: "0+100x30"},
        good={ANSWERS: "0+1000x30", QUICK: "0+995x30", SLOW: "0+1000x30", ALL: "0+1000x30"},
        early=4,
        late=12,
        labels={"service": "account"},
    ),
    Case(
        alert="IdBreakerOpen",
        bad={BREAKER: "0x4 2 2 1 2 2 1 2x10"},
        good={BREAKER: "0x4 2 0x20"},
        early=5,
        late=10,
        labels={"name": "smtp"},
    ),
    Case(
        alert="IdQueueDepthHigh",
        bad={QUEUE: "0x4 101x10"},
        good={QUEUE: "0x4 100x10", MAILS: "0x4 100x10"},
        early=5,
        late=10,
        labels={"queue": "account"},
    ),
    Case(
        alert="IdQueueDepthHigh",
        bad={MAILS: "0x4 5000x10"},
        good={MAILS: "0x4 5000 0x10"},
        early=5,
        late=10,
        labels={"queue": "mail"},
    ),
    Case(
        alert="IdEventsLate",
        bad={OLDEST: "0+60x20"},
        good={OLDEST: "0+60x5 0x15"},
        early=6,
        late=10,
        labels={"service": "account"},
    ),
    Case(
        alert="IdEventsParked",
        bad={PARKED: "0 1x20"},
        good={PARKED: "0 1x3 0x20"},
        early=5,
        late=10,
        labels={"service": "account"},
    ),
    Case(
        # Its key in Redis goes thirty seconds after it has died.
        alert="IdWorkerSilent",
        bad={HEARTBEAT: "0+60x5 300 0x20"},
        good={HEARTBEAT: "0 0 120+60x20"},
        early=7,
        late=11,
        labels={"service": "account"},
    ),
    Case(
        # It says that it lives, and does nothing.
        alert="IdWorkerIdle",
        bad={SWEEPS: "0+12x10 120x30"},
        good={SWEEPS: "0+12x10 120x5 120+12x30"},
        early=18,
        late=30,
        labels={"task": "account.relay_outbox"},
    ),
    Case(
        alert="IdTasksFailing",
        bad={TASK_FAILURES: "0 0 1 2 3 4 5 6x40"},
        good={TASK_FAILURES: "0 0 1 2 3x40"},
        early=5,
        late=20,
        labels={"task": "account.erase_due"},
    ),
    Case(
        alert="IdCleanupLate",
        bad={CLEANUP: "60x155"},
        good={CLEANUP: "0x155"},  # nobody remembers: Redis was emptied, or the suite is new
        early=145,
        late=149,
        step=SLOWLY,
        labels={"job": "account.clear_events"},
    ),
    Case(alert="IdBeatSilent", bad={BEAT: "0+60x5 300x20"}, good={BEAT: "0 0 0 180+60x20"}, early=9, late=14),
    Case(alert="IdBeatSilent", bad={BEAT: ABSENT}, good={}, early=4, late=8),
    Case(
        alert="IdMailFailing",
        bad={SENT: "0+1x40", UNREACHABLE: "0+2x40"},
        good={SENT: "0+1x40", REFUSED_MAIL: "0+5x40"},
        early=8,
        late=25,
    ),
    Case(
        # Looked at every quarter of an hour.
        alert="IdSealedRowsUnopened",
        bad={UNOPENED: "0x5 3x40"},
        good={UNOPENED: "0x5 3x15 0x30"},
        early=24,
        late=30,
        labels={"service": "account"},
    ),
    Case(
        alert="IdDatabaseConnectionsNearMaximum",
        bad={CONNECTIONS: "10x5 80x20"},
        good={CONNECTIONS: "10x5 76x20"},
        early=9,
        late=14,
        labels={"service": "account"},
    ),
    Case(
        alert="IdBackupTooOld",
        bad={BACKUP: "60x90"},
        good={BACKUP: "60x72 86400x20"},
        early=78,
        late=82,
        step=SLOWLY,
    ),
    Case(
        alert="IdBackupMissing",
        bad={BACKUP: "0x90"},
        good={BACKUP: "0x72 86400x20"},
        early=76,
        late=80,
        step=SLOWLY,
    ),
)

STARTING = {
    # The first minutes of a suite and of its Prometheus, which finds most of it only in the third.
    SERVICE: "_ _ 2 0x20",
    COMPONENT: "_ _ 2 1 0x20",
    NO_KEY: "_ _ 1x8 0x12",
    HEARTBEAT: "_ _ 0 180+60x20",
    BEAT: "_ _ 0 180+60x20",
    SWEEPS: "_ _ 0+12x20",
    BACKUP: "_ _ 0x20",
    CLEANUP: "_ _ 0x20",
    WEB: "_ _ 0 1x20",
    OTHER_WEB: "_ _ 0 1x20",
}
"""All quiet, at every minute."""
