"""What all providers have in common: one guarded conversation per visit, behind a breaker, and an identity at its end.

Nothing that a provider gives us outlives the conversation but the identity: its tokens are not kept.
"""

import email.utils
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import JoseError

from libs.guard.breakers import Breaker, BreakerOpen, Down
from libs.guard.outbound import AnswerTooLarge, OutboundRefused, guarded
from services.account.settings import AccountSettings

Result = TypeVar("Result")
UNUSABLE = (
    requests.TooManyRedirects,
    requests.exceptions.ContentDecodingError,
    AnswerTooLarge,
    OutboundRefused,
    JoseError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""The provider answered, with something that we cannot read or do not follow."""
MAX_NAME_LENGTH = 200
MAX_SUBJECT_LENGTH = 255  # OpenID Connect Core §2


class ProviderAway(Exception):
    """The provider does not answer, or was left alone because it has not: nothing was learned."""


class ProviderError(Exception):
    """The provider answered, and its answer signs nobody in. The message is for the log alone."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Somebody's account elsewhere. It is (issuer, subject); everything else may belong to another tomorrow."""

    issuer: str
    subject: str
    name: str
    """What the provider calls the account, so that its owner recognises it."""
    email: str | None = None
    """An address that the provider has verified. It links nothing and signs nobody in: it fills in a form."""


@dataclass(frozen=True, kw_only=True)
class Trip:
    """One browser's way to a provider and back: what only this visit knows."""

    redirect_uri: str
    verifier: str = field(repr=False)
    """Of PKCE (RFC 7636)."""
    nonce: str = field(repr=False)


@dataclass(kw_only=True)
class Provider(ABC):
    """An issuer of identities, and our registration there."""

    name: str
    """In paths, rows and logs."""
    label: str
    """What people call it."""
    client_id: str
    client_secret: str = field(repr=False)
    scope: str
    settings: AccountSettings = field(repr=False)
    breaker: Breaker = field(init=False, repr=False)

    def authorization_url(self, trip: Trip, *, state: str) -> str:
        """Where the browser goes; nowhere, while the provider is left alone. Raises ProviderAway, ProviderError."""
        if self.breaker.is_refusing():
            raise ProviderAway(f"{self.name} is left alone")
        endpoint = self._authorization_endpoint(trip)
        with self._session(trip) as http:
            url: str = http.create_authorization_url(
                endpoint, state=state, code_verifier=trip.verifier, **self._own_parameters(trip)
            )[0]
            return url

    def identify(self, trip: Trip, *, code: str, iss: str | None) -> Identity:
        """Who came back with this code; `iss` is what the answer says of its sender (RFC 9207).

        Raises ProviderAway, ProviderError.
        """
        return self._ask(lambda http: self._identify(http, trip, code, iss), trip)

    @abstractmethod
    def _authorization_endpoint(self, trip: Trip) -> str: ...

    def _own_parameters(self, trip: Trip) -> dict[str, str]:
        """What this provider's authorization endpoint wants beside state and PKCE."""
        return {}

    @abstractmethod
    def _identify(self, http: OAuth2Session, trip: Trip, code: str, iss: str | None) -> Identity: ...

    # -- the conversation --------------------------------------------------------------------------------------

    def _ask(self, talk: Callable[[OAuth2Session], Result], trip: Trip) -> Result:
        """Talk to the provider, behind its breaker. Raises ProviderAway, ProviderError."""
        try:
            return self.breaker.call(self._converse, talk, trip)
        except (Down, BreakerOpen) as error:
            raise ProviderAway(str(error)) from error

    def _converse(self, talk: Callable[[OAuth2Session], Result], trip: Trip) -> Result:
        """Raises Down for what the breaker counts, ProviderError for an answer that is of no use."""
        with self._session(trip) as http:
            try:
                return talk(http)
            except requests.HTTPError as error:
                raise ProviderError(f"status {getattr(error.response, 'status_code', 0)}") from error
            except AuthlibBaseError as error:
                raise ProviderError(str(error.error)[:80]) from error
            except UNUSABLE as error:
                raise ProviderError(type(error).__name__) from error
            except requests.RequestException as error:
                raise Down(type(error).__name__) from error

    def _session(self, trip: Trip) -> OAuth2Session:
        session = OAuth2Session(
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method="client_secret_post",
            scope=self.scope,
            redirect_uri=trip.redirect_uri,
            code_challenge_method="S256",
            leeway=0,
        )
        session.headers["User-Agent"] = "UpdSpace-ID"
        session.hooks["response"].append(refuse_failures)
        return guarded(session, self.settings, seconds=self.settings.PROVIDER_TIMEOUT_MS / 1000)


def refuse_failures(response: requests.Response, *_: Any, **__: Any) -> None:
    """Raises Down when the provider says that it cannot answer, or not so often."""
    if response.status_code >= 500 or response.status_code == 429:
        raise Down(
            f"status {response.status_code}", retry_after=wished_wait(response.headers.get("Retry-After"))
        )


def wished_wait(header: str | None) -> int | None:
    """Seconds of a Retry-After header, given as a number or as a date (RFC 9110 §10.2.3)."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(int((moment - datetime.now(UTC)).total_seconds()), 0)


def answer_of(http: OAuth2Session, url: str, **options: Any) -> Any:
    """The JSON at an address. Raises requests.RequestException."""
    response = http.get(url, headers={"Accept": "application/json"}, **options)
    response.raise_for_status()
    return response.json()


def identity(
    *, issuer: str, subject: object, names: tuple[object, ...], email: str | None = None
) -> Identity:
    """An identity of what a provider says. Raises ProviderError when the subject is none."""
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= MAX_SUBJECT_LENGTH
        or not subject.isprintable()
    ):
        raise ProviderError("no usable subject")
    name = next((name for name in names if isinstance(name, str) and name.strip()), subject)
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return Identity(issuer=issuer, subject=subject, name=shown[:MAX_NAME_LENGTH] or subject, email=email)
