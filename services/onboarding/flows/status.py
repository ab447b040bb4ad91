"""The signed link by which applicants see how their application stands; it is good as long as SECRET_KEY is."""

import base64
import hashlib
import hmac
import uuid

from flask import current_app

from libs.guard.keyring import derive
from libs.service import parts_of
from services.onboarding.models import Application

ID_BYTES = 16


def url_of(application: Application) -> str:
    """The address of the application's own page, for a mail to the applicant."""
    settings = parts_of(current_app).settings
    token = application.id.bytes + _signature(settings.SECRET_KEY, application.id.bytes)
    text = base64.urlsafe_b64encode(token).decode()
    return f"{settings.PUBLIC_URL}/apply/status?token={text}"


def application_of(token: str) -> uuid.UUID | None:
    """The id of the application that this token was made for; None where we made no such token."""
    settings = parts_of(current_app).settings
    try:
        content = base64.urlsafe_b64decode(token.encode("ascii"))
    except ValueError:
        return None
    name, signature = content[:ID_BYTES], content[ID_BYTES:]
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(hmac.compare_digest(signature, _signature(key, name)) for key in keys):
        return None
    return uuid.UUID(bytes=name)


def _signature(secret_key: str, name: bytes) -> bytes:
    return hmac.new(derive(secret_key, "status"), name, hashlib.sha256).digest()
