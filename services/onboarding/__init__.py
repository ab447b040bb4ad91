"""onboarding: how does a person get in? Policies, applications, reviews, invitations, activation."""

from flask import Flask

from libs.commands.doctor import with_doctor
from libs.service import create_service
from services.onboarding import tasks  # noqa: F401  declares the tasks
from services.onboarding.cli import COMMANDS
from services.onboarding.consumers import HANDLERS
from services.onboarding.extensions import limiter, stores
from services.onboarding.flows.restoring import end_what_may_have_ended
from services.onboarding.flows.review import observing
from services.onboarding.routes import (
    activation,
    apply,
    invitation_desk,
    invitations,
    policies,
    review,
    status,
)
from services.onboarding.routes.api import API
from services.onboarding.settings import OnboardingSettings


@with_doctor(OnboardingSettings)
def create_app(settings: OnboardingSettings | None = None) -> Flask:
    """The service's table of contents."""
    settings = settings or OnboardingSettings.load_or_exit()
    return create_service(
        __name__,
        settings,
        name="onboarding",
        limiter=limiter,
        stores=stores,
        blueprints=[
            apply.bp,
            status.bp,
            activation.bp,
            invitations.bp,
            invitation_desk.bp,
            review.bp,
            policies.bp,
        ],
        api=API,
        handlers=HANDLERS,
        commands=COMMANDS,
        when_restored=end_what_may_have_ended,
        gauges=observing.gauges,
        waiting=lambda: {"applications": observing.count_undecided()},
    )
