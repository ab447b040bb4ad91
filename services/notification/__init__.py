"""notification: what do we tell people, and did it arrive?"""

from flask import Flask

from libs.commands.doctor import with_doctor
from libs.doctor.rows import sealed_rows
from libs.guard import breakers
from libs.observe.health import Component
from libs.observe.metrics import GaugeSamples
from libs.service import create_service, parts_of
from services.notification import tasks
from services.notification.cli import COMMANDS
from services.notification.consumers import HANDLERS
from services.notification.doctor import look_at_smtp
from services.notification.extensions import limiter, stores
from services.notification.flows import delivery, feedback, messages, restoring
from services.notification.flows.delivery.sending import BREAKER
from services.notification.models import REPORTS, RESULTS, WAITING
from services.notification.routes import feedback as feedback_pages
from services.notification.routes import mailbox as mailbox_pages
from services.notification.routes import messages as message_pages
from services.notification.routes import suppressions, templates
from services.notification.routes.api import API
from services.notification.sealed import SEALED
from services.notification.settings import NotificationSettings

__all__ = ["create_app", "tasks"]


@with_doctor(NotificationSettings, sealed_rows(SEALED), look_at_smtp)
def create_app(settings: NotificationSettings | None = None) -> Flask:
    """The app of notification. A bad setting ends the process with its sentence."""
    settings = settings or NotificationSettings.load_or_exit()

    def email() -> Component:
        with app.app_context():
            return delivery.mail_health()

    def gauges() -> GaugeSamples:
        depth = messages.count(*WAITING)
        yield from breakers.gauges(parts_of(app).breakers)
        yield "id_queue_depth", "Tasks that wait in a queue", {"queue": "mail"}, depth

    app = create_service(
        __name__,
        settings,
        name="notification",
        limiter=limiter,
        stores=stores,
        blueprints=[
            message_pages.bp,
            templates.bp,
            suppressions.bp,
            feedback_pages.bp,
            *([mailbox_pages.bp] if settings.is_development else []),
        ],
        api=API,
        handlers=HANDLERS,
        commands=COMMANDS,
        when_restored=restoring.hold_mail,
        checks={"email": email},
        gauges=gauges,
        sealed=SEALED,
        waiting=lambda: {"messages": messages.count("failed", "parked", "held")},
    )
    parts_of(app).breakers.declare(BREAKER)
    for result in RESULTS:
        parts_of(app).metrics.emails_sent.labels(result=result)
    for report in (*REPORTS, feedback.UNKNOWN):
        parts_of(app).metrics.mail_feedback.labels(type=report)
    return app
