"""How answers of the authorization endpoint leave: a redirect or a form to the client, or a page of ours."""

from urllib.parse import urlencode, urlsplit

from flask import Response, current_app, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from libs.observe.logs import correlation_id
from libs.service import parts_of
from libs.web.headers import allow_form_target
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.authorization.checks import Refused
from services.oidc.protocol.authorization.responses import AuthorizationResponse


def to_client(answer: AuthorizationResponse) -> ResponseReturnValue:
    """303, so that a POST's body is never sent on (RFC 9700 §4.12); or a page whose form carries the answer."""
    if answer.mode == "form_post":
        allow_form_target(answer.address)
        page = render_template("form_post.html", answer=answer, app_host=urlsplit(answer.address).hostname)
        # Under our usual policy the form's Origin would be "null": an app may want to know that it comes from us.
        return page, 200, {"Cache-Control": "no-store", "Referrer-Policy": "strict-origin"}
    response = Response("", 303, {"Location": answer.address, "Cache-Control": "no-store"})
    response.autocorrect_location_header = False
    return response


def error_page(refused: Refused) -> ResponseReturnValue:
    """Until the address to return to is proven, nobody is sent anywhere (RFC 6749 §4.1.2.1)."""
    reasons = {
        "The app that sent you here is not registered.": gettext(
            "The app that sent you here is not registered."
        ),
        "The app did not register the address that it wants to return to.": gettext(
            "The app did not register the address that it wants to return to."
        ),
        "The request has been used already, or it is too old.": gettext(
            "The request has been used already, or it is too old."
        ),
    }
    reason = reasons.get(refused.description) or gettext("The app sent a request that cannot be understood.")
    page = render_template("authorize_error.html", reason=reason, correlation_id=correlation_id())
    return page, 400, {"Cache-Control": "no-store"}


def expired_page(client: RegisteredClient | None) -> ResponseReturnValue:
    """The interaction has ended or is too old: the way on leads back to the app."""
    return render_template("authorize_expired.html", client=client, app_url=_app_url(client)), 410


def _app_url(client: RegisteredClient | None) -> str | None:
    """Where the app lives: where it begins a sign-in (Core §4), its home page, else what its addresses tell."""
    if client is None:
        return None
    if client.initiate_login_uri:
        separator = "&" if "?" in client.initiate_login_uri else "?"
        issuer = parts_of(current_app).settings.PUBLIC_URL
        return client.initiate_login_uri + separator + urlencode({"iss": issuer})
    if client.client_uri:
        return client.client_uri
    for uri in client.redirect_uris:
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https"):
            return f"{parts.scheme}://{parts.netloc}/"
    return None
