"""oidc: what may which client know and do? Clients, signing keys, consents, grants, tokens."""

from flask import Flask

from libs.commands.doctor import with_doctor
from libs.doctor.rows import sealed_rows
from libs.observe.health import Component
from libs.service import create_service, parts_of
from services.oidc import tasks as _tasks  # noqa: F401  declares them
from services.oidc.cli import COMMANDS
from services.oidc.consumers import HANDLERS
from services.oidc.doctor import look_at_signing_keys
from services.oidc.extensions import limiter, stores
from services.oidc.flows import logouts as logout_deliveries
from services.oidc.flows.restoring import end_what_may_have_ended
from services.oidc.observing import gauges, keys_health
from services.oidc.protocol.grants import LABELS
from services.oidc.protocol.keys import NotMigrated, keys
from services.oidc.protocol.limits import SCOPES as LIMITED
from services.oidc.routes import (
    apps,
    authorize,
    client_settings,
    clients,
    consent,
    device,
    device_authorization,
    discovery,
    logout,
    logouts,
    par,
    refusals,
    register,
    registration_tokens,
    resources,
    token,
    userinfo,
    webfinger,
)
from services.oidc.routes import keys as keys_page
from services.oidc.routes.api import API
from services.oidc.routes.cors import init_cors
from services.oidc.sealed import SEALED
from services.oidc.settings import OIDCSettings

BLUEPRINTS = (
    authorize.bp,
    consent.bp,
    token.bp,
    par.bp,
    device_authorization.bp,
    device.bp,
    userinfo.bp,
    discovery.bp,
    webfinger.bp,
    logout.bp,
    logouts.bp,
    apps.bp,
    keys_page.bp,
    register.bp,
    clients.bp,
    client_settings.bp,
    resources.bp,
    refusals.bp,
    registration_tokens.bp,
)


@with_doctor(OIDCSettings, sealed_rows(SEALED), look_at_signing_keys)
def create_app(settings: OIDCSettings | None = None) -> Flask:
    """The issuer as a WSGI app. A bad setting ends the process with a sentence."""
    settings = settings or OIDCSettings.load_or_exit()

    def oidc_keys() -> Component:
        with app.app_context():
            # The first look of a process makes and imports keys: whoever waits for us to be ready waits for them too.
            # From then on this reads what is known.
            try:
                return keys_health(keys.load())
            except NotMigrated:
                return Component("oidc_keys", "unhealthy", None, {"reason": "migrations"})

    app = create_service(
        __name__,
        settings,
        name="oidc",
        limiter=limiter,
        stores=stores,
        blueprints=BLUEPRINTS,
        api=API,
        handlers=HANDLERS,
        commands=COMMANDS,
        when_restored=end_what_may_have_ended,
        checks={"oidc_keys": oidc_keys},
        gauges=gauges,
        sealed=SEALED,
        waiting=lambda: {"logouts": logout_deliveries.count_parked()},
    )
    init_cors(app)
    # Our own API finds our keys here, without an event to ourselves.
    parts_of(app).issuer_keys = keys
    metrics = parts_of(app).metrics
    for result in logout_deliveries.RESULTS:
        metrics.logouts_sent.labels(result=result)
    for grant in LABELS.values():
        metrics.tokens_issued.labels(grant=grant)
        for error in (
            "invalid_grant",
            "invalid_client",
            "invalid_request",
            "invalid_scope",
            "unauthorized_client",
        ):
            metrics.tokens_failed.labels(grant=grant, error=error)
    metrics.declare_scopes((*LIMITED, "device"))
    return app
