"""Signing in with e-mail and password."""

from collections.abc import Sequence

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext

from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.passwords import TooBusy, passwords
from services.account.flows.sessions import SignIn, begin_session
from services.account.flows.users import normalise_email
from services.account.models import PasswordCredential, User

log = get_logger("account.login")


class LoginRefused(Problem):
    """Address and password do not belong together, or there is no such account: the words do not tell which."""

    status, slug, title = 422, "login-refused", lazy_gettext("You are not signed in")


class AccountDisabled(LoginRefused):
    """The password is right and the account is closed; only its owner learns this."""

    slug = "account-disabled"


def log_in(*, email: str, password: str, user_agent: str = "", held: Sequence[str] = ()) -> SignIn:
    """Sign a person in on a browser that holds the session secrets `held`.

    A known and an unknown address cost the same: one query, one hash. Raises LoginRefused, AccountDisabled,
    TooBusy.
    """
    parts_of(current_app).metrics.login_attempts.inc()
    with db.transaction() as session:
        # The connection goes back to the pool before the slow part.
        found = session.execute(
            sa.select(User.id, User.sub, User.status, PasswordCredential.hash)
            .outerjoin(PasswordCredential, PasswordCredential.user_id == User.id)
            .where(User.email_normalised == normalise_email(email))
        ).one_or_none()
    if not passwords().is_right(password, found.hash if found else None):
        if found is None:
            raise _refused("unknown_account")
        raise _refused("bad_password" if found.hash else "not_activated")
    assert found is not None
    if found.status != "active":
        raise _refused("disabled", AccountDisabled)
    with db.transaction() as session:
        current = session.execute(
            sa.select(User, PasswordCredential)
            .join(PasswordCredential, PasswordCredential.user_id == User.id)
            .where(User.id == found.id)
            .with_for_update(read=True, of=User)
            .execution_options(populate_existing=True)
        ).one_or_none()
        # Between hash and lock the password may have been changed or the account disabled.
        if current is None or current[1].hash != found.hash:
            raise _refused("bad_password")
        user, credential = current
        if not user.is_active:
            raise _refused("disabled", AccountDisabled)
        sign_in = begin_session(session, user=user, amr=["pwd"], acr="1", user_agent=user_agent, held=held)
    log.info("login_succeeded", sub=user.sub, sid=sign_in.session.sid)
    if passwords().needs_rehash(credential.hash):
        _rehash(credential, password)
    return sign_in


def count_throttled() -> None:
    """A sign-in that a rate limit refused before it was tried."""
    parts_of(current_app).metrics.login_attempts.inc()
    _count_failure("throttled")


def _refused(reason: str, kind: type[LoginRefused] = LoginRefused) -> LoginRefused:
    _count_failure(reason)
    if kind is AccountDisabled:
        return AccountDisabled(
            gettext("This account is disabled. If you think that is a mistake, write to us.")
        )
    return LoginRefused(gettext("The e-mail address or the password is not right."))


def _count_failure(reason: str) -> None:
    metrics = parts_of(current_app).metrics
    metrics.login_failures.inc()
    metrics.login_failure_reasons.labels(reason=reason).inc()
    log.info("login_refused", reason=reason)


def _rehash(credential: PasswordCredential, password: str) -> None:
    """Keep the password under the cost that the settings ask for now, unless it was changed meanwhile."""
    try:
        hashed = passwords().hash(password)
    except TooBusy:
        return  # the next sign-in will
    with db.transaction() as session:
        session.execute(
            sa.update(PasswordCredential)
            .where(
                PasswordCredential.user_id == credential.user_id, PasswordCredential.hash == credential.hash
            )
            .values(hash=hashed)
            .execution_options(synchronize_session=False)
        )
