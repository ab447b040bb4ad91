"""account: who is this person, and is it really them? Owns people, passwords and sign-in sessions."""

from flask import Flask

from libs.commands.doctor import with_doctor
from libs.doctor.rows import sealed_rows
from libs.service import create_service, parts_of
from services.account import tasks as _tasks  # noqa: F401  declares account's own tasks
from services.account.cli import COMMANDS
from services.account.consumers import HANDLERS
from services.account.extensions import limiter, stores
from services.account.flows.access_tokens import still_holds
from services.account.flows.passwords import init_passwords
from services.account.flows.restoring import end_what_may_have_ended
from services.account.flows.sessions import find_session
from services.account.flows.throttle import init_throttle
from services.account.observing import gauges, providers_health, ratelimits_health
from services.account.providers import init_providers
from services.account.routes import (
    account,
    activity,
    blocks,
    chooser,
    data_download,
    email_change,
    enrolment,
    erasure,
    forgotten,
    linking,
    login,
    login_events,
    logout,
    mail_code,
    notices,
    passkey_login,
    passkeys,
    password_change,
    password_links,
    profile,
    second_factor,
    second_step,
    sessions,
    staff_rule,
    users,
)
from services.account.routes.api import API
from services.account.sealed import SEALED
from services.account.settings import AccountSettings


@with_doctor(AccountSettings, sealed_rows(SEALED))
def create_app(settings: AccountSettings | None = None) -> Flask:
    """The service's table of contents."""
    settings = settings or AccountSettings.load_or_exit()
    app = create_service(
        __name__,
        settings,
        name="account",
        limiter=limiter,
        stores=stores,
        blueprints=[
            login.bp,
            mail_code.bp,
            second_step.bp,
            chooser.bp,
            passkey_login.bp,
            logout.bp,
            enrolment.bp,
            password_links.bp,
            forgotten.bp,
            password_change.bp,
            notices.bp,
            account.bp,
            profile.bp,
            email_change.bp,
            data_download.bp,
            erasure.bp,
            sessions.bp,
            activity.bp,
            linking.bp,
            second_factor.bp,
            passkeys.bp,
            users.bp,
            blocks.bp,
            login_events.bp,
            staff_rule.bp,
        ],
        api=API,
        handlers=HANDLERS,
        commands=COMMANDS,
        when_restored=end_what_may_have_ended,
        find_session=find_session,
        token_still_holds=still_holds,
        checks={
            "providers": lambda: providers_health(parts_of(app).breakers),
            "ratelimits": lambda: ratelimits_health(parts_of(app).enhanced),
        },
        gauges=gauges,
        sealed=SEALED,
    )
    init_passwords(app, settings)
    init_throttle(app)
    init_providers(app, settings, parts_of(app).breakers)
    return app
