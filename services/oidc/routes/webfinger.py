"""WebFinger (RFC 7033): whoever knows an address here learns who signs it in (OpenID Connect Discovery §2)."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, json, request

from libs.people.access import public
from libs.service import parts_of
from services.oidc.routes.machine_errors import answer_in_json, oauth_error

bp = Blueprint("webfinger", __name__)
answer_in_json(bp)

ISSUER = "http://openid.net/specs/connect/1.0/issuer"
MAX_RESOURCE_LENGTH = 2000


@bp.get("/.well-known/webfinger")
@public
def find() -> Response:
    """The issuer of an address of our host. Whether anybody has it is not said: every one is answered alike."""
    issuer: str = parts_of(current_app).settings.PUBLIC_URL
    resource = request.args.get("resource", "")
    if not resource or len(resource) > MAX_RESOURCE_LENGTH or not resource.isprintable():
        return oauth_error(400, "invalid_request")
    if _host_of(resource) not in (urlsplit(issuer).hostname, urlsplit(issuer).netloc):
        return oauth_error(404, "not_found")
    wanted = request.args.getlist("rel")
    links = [{"rel": ISSUER, "href": issuer}] if not wanted or ISSUER in wanted else []
    body = json.dumps({"subject": resource, "links": links})
    return Response(body, content_type="application/jrd+json")


def _host_of(resource: str) -> str | None:
    """The host, with its port where one is written, of `acct:name@host` or of a web address."""
    if resource.startswith("acct:"):
        name, _, host = resource.removeprefix("acct:").rpartition("@")
        return host.lower() if name else None
    try:
        parts = urlsplit(resource)
    except ValueError:
        return None
    return parts.netloc.rpartition("@")[2].lower() if parts.scheme in ("https", "http") else None
