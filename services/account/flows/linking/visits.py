"""Visits: a browser goes to a provider and comes back, once, to where it came from.

What only this visit knows (PKCE verifier, nonce) is sealed in its row; state is kept as a hash. The browser holds
the row's id in its own session, so that what one browser began no other can finish.
"""

import json
import secrets
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem, Unavailable
from services.account.extensions import db
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.visitor import Visitor
from services.account.models import ProviderVisit, User
from services.account.providers import (
    Identity,
    Provider,
    ProviderAway,
    ProviderError,
    Trip,
    find_provider,
    providers,
)

log = get_logger("account.linking")


class UnknownProvider(Problem):
    """Nobody has declared a provider of this name."""

    status, slug, title = 404, "unknown-provider", lazy_gettext("There is nothing here")


class VisitEnded(Problem):
    """No such visit of this browser: it took too long, was finished, or was begun in another browser."""

    status, slug, title = 409, "visit-ended", lazy_gettext("This took too long, or was finished already")


class Cancelled(Problem):
    """The person changed their mind at the provider."""

    status, slug, title = 403, "cancelled", lazy_gettext("You cancelled it there, and nothing was changed")


class ProviderUnavailable(Unavailable):
    """The provider does not answer, or its answer is of no use."""

    slug = "provider-unavailable"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A provider as a page offers it."""

    name: str
    label: str
    is_away: bool
    """It has not answered lately and is left alone for now."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where the browser goes, and the visit that it keeps the id of."""

    visit_id: uuid.UUID
    url: str


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A visit that has ended, which only its own browser could end."""

    purpose: str
    """`sign_in` or `link`."""
    user_id: uuid.UUID | None
    """Whose account is linked."""
    continue_to: str
    provider: Provider
    trip: Trip


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a browser brings back, as the provider's redirect says it."""

    state: str
    code: str | None = None
    error: str | None = None
    iss: str | None = None


def choices() -> list[Choice]:
    """The providers that pages offer. Asks Redis once, and not at all where there are none."""
    declared = providers()
    away = parts_of(current_app).breakers.refusing() if declared else set()
    return [
        Choice(name=name, label=provider.label, is_away=provider.breaker.name in away)
        for name, provider in declared.items()
    ]


def begin_visit(*, provider: str, visitor: Visitor, continue_to: str, sub: str | None = None) -> Departure:
    """Send a browser to a provider: to sign in, or to link the account there to the person `sub`.

    Raises UnknownProvider, ProviderUnavailable.
    """
    there = _get_provider(provider)
    settings = parts_of(current_app).settings
    visit_id, now = uuid7(), utcnow()
    state, state_digest = single_use.make()
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(32)
    trip = Trip(redirect_uri=_redirect_uri(there), verifier=verifier, nonce=nonce)
    try:
        url = there.authorization_url(trip, state=state)
    except (ProviderAway, ProviderError) as error:
        raise _unavailable(there, error, visitor=visitor, is_sign_in=sub is None) from error
    sealed = parts_of(current_app).data_keys.seal(
        json.dumps({"verifier": verifier, "nonce": nonce}).encode(), secrets_place(visit_id)
    )
    whose = sa.select(User.id).where(User.sub == sub).scalar_subquery() if sub is not None else None
    with db.single_statements() as session:
        session.execute(
            sa.insert(ProviderVisit).values(
                id=visit_id,
                provider=there.name,
                purpose="sign_in" if sub is None else "link",
                user_id=whose,
                state_digest=state_digest,
                secrets_sealed=sealed,
                continue_to=continue_to,
                created_at=now,
                expires_at=now + settings.PROVIDER_VISIT_LIFETIME,
            )
        )
    return Departure(visit_id=visit_id, url=url)


def come_back(*, visit_id: uuid.UUID | None, provider: str, state: str, visitor: Visitor) -> Visit:
    """End the visit of this browser, once, whatever came of it. Raises UnknownProvider, VisitEnded."""
    there = _get_provider(provider)
    with db.single_statements() as session:
        row = session.execute(
            sa.update(ProviderVisit)
            .where(
                ProviderVisit.id == visit_id,
                ProviderVisit.provider == there.name,
                ProviderVisit.state_digest == single_use.digest(state),
                ProviderVisit.used_at.is_(None),
                ProviderVisit.expires_at > utcnow(),
            )
            .values(used_at=utcnow())
            .returning(
                ProviderVisit.purpose,
                ProviderVisit.user_id,
                ProviderVisit.continue_to,
                ProviderVisit.secrets_sealed,
            )
            .execution_options(synchronize_session=False)
        ).one_or_none()
    if row is None:
        if _was_to_sign_in(visit_id):
            count_attempt()
            record_failure("expired", method=there.name, visitor=visitor)
        raise VisitEnded
    opened = parts_of(current_app).data_keys.open(row.secrets_sealed, secrets_place(visit_id))
    return Visit(
        purpose=row.purpose,
        user_id=row.user_id,
        continue_to=row.continue_to,
        provider=there,
        trip=Trip(redirect_uri=_redirect_uri(there), **json.loads(opened)),
    )


def _was_to_sign_in(visit_id: uuid.UUID | None) -> bool:
    """Whether this browser was on its way to signing in, however that ended."""
    if visit_id is None:
        return False
    with db.single_statements() as session:
        purpose = session.scalar(sa.select(ProviderVisit.purpose).where(ProviderVisit.id == visit_id))
    return purpose == "sign_in"


def identify(visit: Visit, *, answer: Answer, visitor: Visitor) -> Identity:
    """Who came back. Raises Cancelled, ProviderUnavailable."""
    there, is_sign_in = visit.provider, visit.purpose == "sign_in"
    if is_sign_in:
        count_attempt()
    if answer.error == "access_denied":
        if is_sign_in:
            record_failure("cancelled", method=there.name, visitor=visitor)
        raise Cancelled
    try:
        if answer.error is not None or not answer.code:
            # Its words are from the address bar, and anybody's.
            raise ProviderError("an error instead of a code")
        return there.identify(visit.trip, code=answer.code, iss=answer.iss)
    except (ProviderAway, ProviderError) as error:
        raise _unavailable(there, error, visitor=visitor, is_sign_in=is_sign_in, is_counted=True) from error


def _get_provider(name: str) -> Provider:
    found = find_provider(name)
    if found is None:
        raise UnknownProvider
    return found


def secrets_place(visit_id: uuid.UUID | None) -> str:
    """Where a visit's secrets belong, for the key ring."""
    return f"provider_visits.secrets:{visit_id}"


def _redirect_uri(provider: Provider) -> str:
    # One for each provider: an answer of one that lands at another's is no answer (RFC 9700 §4.4).
    return f"{parts_of(current_app).settings.PUBLIC_URL}/link/{provider.name}/callback"


def _unavailable(
    provider: Provider, error: Exception, *, visitor: Visitor, is_sign_in: bool, is_counted: bool = False
) -> ProviderUnavailable:
    log.warning("provider_failed", provider=provider.name, kind=type(error).__name__, why=str(error))
    if is_sign_in:
        if not is_counted:
            count_attempt()
        record_failure("provider_error", method=provider.name, visitor=visitor)
    if isinstance(error, ProviderAway):
        words = gettext(
            "%(provider)s does not answer at the moment. Please use another way, or try again later.",
            provider=provider.label,
        )
    else:
        words = gettext(
            "%(provider)s did not tell us who you are. Please try again, or use another way.",
            provider=provider.label,
        )
    return ProviderUnavailable(words)
