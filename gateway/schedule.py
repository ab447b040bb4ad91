"""What happens by the clock: a table of task names, and beat's Celery app made from it. It imports no service.

`celery --app gateway.schedule beat` runs it, once in the whole suite; the all-in-one gives the same table to
the beat inside its worker. A second beat by mistake does no harm: every task is safe to run twice.
"""

import os
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.schedules import crontab, schedule
from celery.signals import beat_init

from gateway.beat import ConsiderateScheduler, sources
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings

# Here and not where they are used: Celery has the working folder on its path only while it imports this module.
from libs.messaging.worker import bare_celery
from libs.observe.logs import configure_logs, get_logger

log = get_logger("beat")


@dataclass(frozen=True)
class Entry:
    """`when` is a crontab line (UTC), or below a minute a number of seconds; nobody runs it once expired."""

    task: str
    queue: str
    when: str | int
    why: str
    expires_s: int


def _of_every_service(name: str, when: str | int, why: str, expires_s: int) -> tuple[Entry, ...]:
    return tuple(Entry(f"{service}.{name}", service, when, why, expires_s) for service in SERVICES)


SEALING = ("account", "oidc", "notification")
"""The services whose databases hold sealed columns."""

SCHEDULE: tuple[Entry, ...] = (
    *_of_every_service(
        "relay_outbox", 5, "events that no relay thread sent, after a crash or with the broker away", 5
    ),
    *_of_every_service("sweep_inbox", 5, "events whose handling failed and is due again", 5),
    *_of_every_service("clear_events", "17 3 * * *", "events confirmed or handled long ago", 3600),
    *(
        Entry(f"{service}.reencrypt", service, "*/15 * * * *", "rows that an earlier data key seals", 840)
        for service in SEALING
    ),
    Entry("account.settle_redis_debts", "account", 5, "ends of sessions that Redis did not take yet", 5),
    Entry("account.fold_seen_sessions", "account", "*/5 * * * *", "when each session was last used", 240),
    Entry("account.tell_of_new_devices", "account", 5, "mail about sign-ins from new devices", 5),
    Entry("account.answer_password_requests", "account", 5, "forgotten passwords that no task took", 5),
    Entry("account.clear_expired_sessions", "account", "37 3 * * *", "expired sessions", 3600),
    Entry("account.clear_old_rows", "account", "27 * * * *", "old login events, links and devices", 1800),
    Entry("account.expire_attempts", "account", "* * * * *", "sign-ins left half done, for the record", 55),
    Entry("account.mail_second_factor_links", "account", "* * * * *", "the way back after the wait", 55),
    Entry(
        "account.assemble_data", "account", "* * * * *", "data of people that some service is late with", 50
    ),
    Entry("account.erase_due", "account", "*/10 * * * *", "accounts whose time of grace is over", 540),
    Entry(
        "onboarding.expire_applications", "onboarding", "7 * * * *", "applications nobody goes on with", 1800
    ),
    Entry("onboarding.forget_networks", "onboarding", "52 3 * * *", "where old applications came from", 3600),
    Entry("onboarding.clear_links", "onboarding", "47 3 * * *", "links that ended long ago", 3600),
    Entry(
        "onboarding.clear_idempotency_keys",
        "onboarding",
        "7 * * * *",
        "answers kept for requests that are sent again, after a day",
        1800,
    ),
    Entry("onboarding.mail_digests", "onboarding", "7 * * * *", "what waits for reviewers, once a day", 1800),
    Entry("oidc.sweep_logouts", "oidc", 5, "logout tokens that are due again, or that no task took", 5),
    Entry("oidc.rotate_keys", "oidc", "*/5 * * * *", "signing keys whose turn has come, or is over", 240),
    Entry("oidc.clear_expired", "oidc", "57 * * * *", "codes, grants and tokens that serve nobody now", 1800),
    Entry(
        "notification.sweep_messages", "notification", 5, "retries that are due, mail that no task took", 5
    ),
    Entry("notification.clear_feedback", "notification", "7 4 * * *", "webhooks taken a week ago", 3600),
    Entry("notification.clear_messages", "notification", "7 * * * *", "old messages and contents", 1800),
    Entry("notification.forget_erased", "notification", "*/10 * * * *", "last mails to people who left", 540),
)


def beat_entries() -> dict[str, dict[str, Any]]:
    """The table in the form of Celery's `beat_schedule`."""
    return {
        entry.task: {
            "task": entry.task,
            "schedule": _moments(entry.when),
            "options": {"queue": entry.queue, "expires": entry.expires_s, "ignore_result": True},
        }
        for entry in SCHEDULE
    }


def _moments(when: str | int) -> schedule:
    if isinstance(when, int):
        # Longer ones would start from zero whenever beat's file is lost.
        assert when < 60, "from a minute on a crontab line says when"
        return schedule(when)
    minute, hour, day, month, weekday = when.split()
    return crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)


def create_beat() -> Celery:
    """Beat's app: the broker and the table, no task."""
    settings = GatewaySettings.load_or_exit()
    configure_logs(settings, service="beat")
    celery = bare_celery(settings, name="beat")
    celery.conf.update(beat_schedule=beat_entries(), beat_scheduler=ConsiderateScheduler)
    ordinary = celery.Beat
    # Its banner is no record of the log's, whatever the command line says.
    celery.Beat = lambda **options: ordinary(**{**options, "quiet": True})
    port, host = int(os.environ.get("WORKER_PORT") or 0), os.environ.get("WORKER_ADDRESS") or "127.0.0.1"

    @beat_init.connect(weak=False)
    def _begin(**_: Any) -> None:
        log.info("beat_started", entries=len(SCHEDULE))
        if port:
            from libs.observe.worker_health import serve
            from libs.service import connect_redis

            serve((), port, host, sources(connect_redis(settings)))

    return celery


def __getattr__(name: str) -> Celery:
    """`app`, made when Celery's command line asks for it: who only reads the table needs no settings."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = create_beat()
    app: Celery = globals()["app"]
    return app
