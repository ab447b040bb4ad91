"""Forgetting a person who is gone: consents, grants, tokens, claims."""

import redis
import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.people import denials
from libs.service import parts_of
from services.oidc.extensions import audit, db
from services.oidc.flows.logouts import tell_clients
from services.oidc.flows.subjects import bury_subject
from services.oidc.models import Consent, Grant

log = get_logger("OIDC.erasure")


def erase(*, sub: str) -> None:
    """Forget the person; what stays is their sub, so that nothing that comes late brings them back."""
    parts = parts_of(current_app)
    with db.transaction() as session:
        # First, and by its row's lock: a code being issued now is found below or finds this.
        bury_subject(sub=sub, before=int(utcnow().timestamp()) + 1)
        # What was told when the person left is not told again; a delivery holds nothing but the sub.
        tell_clients(Grant.sub == sub, sub=sub, cause="erased", is_session=False)
        gone = {
            name: len(session.execute(sa.delete(model).where(model.sub == sub).returning(model.sub)).all())
            for name, model in (("consents", Consent), ("grants", Grant))
        }
        audit.record("subject.erased", target=f"user:{sub}", after=gone)
    try:
        denials.deny(parts.redis, parts.settings, subs=[sub])
    except redis.RedisError as error:
        # account writes the same denial, and repeats it until Redis has it.
        log.warning("denial_not_written", sub=sub, error=type(error).__name__)
    log.info("subject_erased", sub=sub, **gone)
