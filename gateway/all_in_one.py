"""The whole suite in one process: the four apps behind a front door that does what nginx does, and one worker.

The only module of the gateway that knows the services' factories.
"""

from collections.abc import Mapping

from celery import Celery
from flask import Flask

from gateway import front
from gateway.beat import ConsiderateScheduler, sources
from gateway.front_door import FrontDoor
from gateway.health import in_process
from gateway.schedule import beat_entries
from gateway.settings import GatewaySettings
from libs.messaging import worker
from libs.service import parts_of
from services.account import create_app as create_account
from services.notification import create_app as create_notification
from services.oidc import create_app as create_oidc
from services.onboarding import create_app as create_onboarding


def create_apps() -> dict[str, Flask]:
    """The four services' apps by name, in the order of their ports."""
    return {
        "account": create_account(),
        "onboarding": create_onboarding(),
        "oidc": create_oidc(),
        "notification": create_notification(),
    }


def create_front(apps: Mapping[str, Flask]) -> FrontDoor:
    """The one origin: these apps, the gateway's own, and in development the demo."""
    settings = GatewaySettings.load_or_exit()
    own = front.create_app(settings, sources=in_process(apps))
    return FrontDoor({**apps, "gateway": own}, settings)


def create_worker(apps: Mapping[str, Flask]) -> Celery:
    """One worker for all queues, which also knows the schedule."""
    client = parts_of(apps["account"]).redis
    celery = worker.create_worker(*apps.values(), sources=sources(client))
    celery.conf.update(beat_schedule=beat_entries(), beat_scheduler=ConsiderateScheduler)
    return celery
