"""People, browsers and broken Redis for account's tests."""

import functools
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask

from gateway.servers import Redis
from libs.messaging.events import MailRequested
from libs.people.handover import seal_ticket
from libs.people.sessions import Session, copy_key, secret_digest
from libs.service import connect_redis, parts_of
from tests.account.authenticator import Passkey
from tests.account.programs import Program, bearing, deliver_keys
from tests.account.provider_server import ProviderServer, provider_server
from tests.conftest import recorded
from tests.pages import Browser

if TYPE_CHECKING:
    from tests.account.second_factors import App

PASSWORD = "green kettle on a windowsill"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Person:
    """A member, as the test knows them."""

    sub: str
    email: str
    password: str = field(default=PASSWORD, repr=False)


@pytest.fixture
def app(account_app: Flask) -> Flask:
    return account_app


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody confirms events here, so commands need not wait for it as long as they would."""
    monkeypatch.setattr("libs.commands.EVENTS_WAIT_S", 0.05)


@pytest.fixture(autouse=True)
def _nothing_counted_here(app: Flask) -> None:
    """What the process counts by itself while Redis is away begins anew with each test."""
    from services.account.flows.throttle import init_throttle

    init_throttle(app)


@pytest.fixture
def enhanced(app: Flask) -> Iterator[None]:
    """Enhanced mode is on."""
    mode = parts_of(app).enhanced
    mode.begin(timedelta(hours=1))
    yield
    mode.end()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every argon2 hash of the test, as it is made or checked."""
    made: list[str] = []
    for name in ("hash", "verify"):
        real = getattr(PasswordHasher, name)

        def counting(self: PasswordHasher, *arguments: str, real=real, name=name):  # type: ignore[no-untyped-def]
            made.append(name)
            return real(self, *arguments)

        monkeypatch.setattr(PasswordHasher, name, counting)
    return made


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def make_person(app: Flask) -> Callable[..., Person]:
    """Opens accounts with addresses nobody else has."""

    def make(**values: Any) -> Person:
        from services.account.flows.users import create_user

        email = values.pop("email", f"ann-{uuid.uuid4().hex[:10]}@people.test")
        password = values.pop("password", PASSWORD)
        with app.app_context():
            user = create_user(email=email, name=values.pop("name", "Ann Lee"), password=password, **values)
            return Person(sub=user.sub, email=email, password=password)

    return make


@pytest.fixture
def person(make_person: Callable[..., Person]) -> Person:
    return make_person()


@pytest.fixture
def member(make_person: Callable[..., Person]) -> Person:
    """Somebody whose address is proven, and who reads Russian."""
    return make_person(is_email_verified=True, locale="ru")


@pytest.fixture
def admin(app: Flask, make_person: Callable[..., Person]) -> Browser:
    """A browser in which an administrator has just signed in."""
    return sign_in(Browser(app), make_person(roles=["admin"]))


@pytest.fixture
def support(app: Flask, make_person: Callable[..., Person]) -> Browser:
    """A browser in which somebody of support has just signed in."""
    return sign_in(Browser(app), make_person(roles=["support"]))


@pytest.fixture
def link(app: Flask, member: Person) -> str:
    """The mailed link by which the member replaces their password."""
    from tests.account.password_tools import mailed_link

    return mailed_link(app, member.email)


@pytest.fixture
def program_of(app: Flask, oidc_app: Flask) -> Callable[..., Program]:
    """Makes programs that bear access tokens: of a person, or with None of a client by itself."""
    deliver_keys(app, oidc_app)
    return functools.partial(bearing, app, oidc_app)


@pytest.fixture
def admin_program(make_person: Callable[..., Person], program_of: Callable[..., Program]) -> Program:
    return program_of(make_person(roles=["admin"]), "users:read users:write")


@pytest.fixture
def support_program(make_person: Callable[..., Person], program_of: Callable[..., Program]) -> Program:
    return program_of(make_person(roles=["support"]), "users:read users:write")


@pytest.fixture
def passkey(browser: Browser, person: Person) -> Passkey:
    """A passkey of the person, who is signed in at `browser`."""
    from tests.account.passkey_doors import add_passkey

    return add_passkey(sign_in(browser, person))


@pytest.fixture
def phone(app: Flask, browser: Browser, person: Person) -> "App":
    """The person's authenticator app; `browser` is where they set it up."""
    from tests.account.second_factors import person_with_app

    return person_with_app(app, browser, person)


@pytest.fixture
def stranger(app: Flask) -> Browser:
    """A browser where nobody is signed in."""
    return Browser(app)


def sign_in(browser: Browser, person: Person, path: str = "/login", **options: Any) -> Browser:
    """Sign the person in by the form."""
    browser.fill(path, email=person.email, password=person.password, **options)
    assert browser.status == 303, browser.text
    return browser


def cookie_of(browser: Browser) -> str:
    return browser.cookie("id_session") or ""


def copy_of(app: Flask, browser: Browser) -> Session | None:
    """The fast copy behind the first secret of the browser's cookie."""
    text = parts_of(app).redis.get(copy_key(secret_digest(cookie_of(browser).split(".")[0])))
    return Session.from_json(text) if text else None


def delete_copy(app: Flask, browser: Browser) -> None:
    for secret in cookie_of(browser).split("."):
        parts_of(app).redis.delete(copy_key(secret_digest(secret)))


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/account").status_code == 200


def rows(app: Flask, text: str, **values: Any) -> list[Any]:
    """Rows of account's own database."""
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return list(connection.execute(sa.text(text), values))


def execute(app: Flask, text: str, **values: Any) -> None:
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        connection.execute(sa.text(text), values)


def mails_to(app: Flask, email: str, template: str | None = None) -> list[MailRequested]:
    """The mails asked for, oldest first."""
    mails = [event for event in recorded(app, MailRequested) if event.recipient == email]
    return [mail for mail in mails if template in (None, mail.template)]


def link_in(mail: MailRequested, field: str = "link") -> str:
    """Path and query of the link in a mail."""
    link = urlsplit(mail.context[field])
    return f"{link.path}?{link.query}"


def token_in(link: str) -> str:
    return parse_qs(urlsplit(link).query)["token"][0]


def side_by_side(*actions: Callable[[], Any]) -> list[Any]:
    """Run the actions at once, each in a thread; what each returned or raised."""

    def run(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@pytest.fixture
def enrol_ticket(app: Flask) -> Callable[..., str]:
    """Makes the ticket by which onboarding hands an approved applicant over."""

    def make(**values: Any) -> str:
        content = {
            "application_id": str(uuid.uuid4()),
            "email": f"new-{uuid.uuid4().hex[:10]}@people.test",
            "name": "Nora New",
            "locale": "en",
            "roles": [],
            "email_verified": True,
            "continue": "/demo",
            **values,
        }
        return seal_ticket(parts_of(app).settings, purpose="enrol", audience="account", content=content)

    return make


@pytest.fixture
def redis_away(app: Flask) -> Iterator[Callable[[], None]]:
    """The app's Redis is a port where nobody listens, until the returned function is called."""
    parts = parts_of(app)
    real, parts.redis = parts.redis, redis.Redis(port=_free_port(), decode_responses=True, retry=None)

    def back() -> None:
        parts.redis = real

    yield back
    back()


@pytest.fixture
def redis_full(app: Flask, tmp_path: Path) -> Iterator[None]:
    """The app's Redis is a real one that takes no more data; what it had is copied into it."""
    server = Redis(tmp_path / "redis", durable=False).start(embedded=False)
    client = redis.Redis.from_url(server.url(), decode_responses=True, retry=None)
    client.config_set("maxmemory", "1")
    parts = parts_of(app)
    real, parts.redis = parts.redis, client
    yield
    parts.redis = real
    client.close()
    server.stop()


@pytest.fixture
def redis_hung(app: Flask) -> Iterator[None]:
    """The app's Redis takes every connection and never answers."""
    parts = parts_of(app)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        address = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        real, parts.redis = parts.redis, connect_redis(replace(parts.settings, REDIS_URL=address))
        yield
        parts.redis.close()
        parts.redis = real


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def database_away(app: Flask, servers: dict[str, str]) -> Iterator[Callable[[], None]]:
    """account's database takes no connection and has dropped all, until the returned function is called."""
    admin = sa.create_engine(
        servers["DATABASE"].replace("postgresql://", "postgresql+psycopg2://", 1),
        isolation_level="AUTOCOMMIT",
    )
    with app.app_context():
        name = parts_of(app).db.engine.url.database

    def set_open(is_open: bool) -> None:
        with admin.connect() as connection:
            connection.execute(sa.text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {is_open}'))
            if not is_open:
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                connection.execute(sa.text(query), {"name": name})

    set_open(False)
    yield lambda: set_open(True)
    set_open(True)
    admin.dispose()


@pytest.fixture(scope="module")
def provider_process() -> Iterator[ProviderServer]:
    with provider_server() as running:
        yield running


@pytest.fixture
def provider(app: Flask, provider_process: ProviderServer) -> Iterator[ProviderServer]:
    """A provider that works, declared as GitHub, as Discord and as an OpenID issuer."""
    from libs.guard.breakers import KEY, Breakers
    from services.account.providers import init_providers
    from tests.account.linking_steps import declare

    provider_process.begin_anew()
    declare(app, provider_process)
    yield provider_process
    provider_process.may_go_on.set()
    parts = parts_of(app)
    parts.breakers = Breakers(lambda: parts.redis)
    init_providers(app, parts.settings, parts.breakers)
    parts.redis.delete(KEY)


@pytest.fixture
def linker(browser: Browser, person: Person, provider: ProviderServer) -> Browser:
    """A browser in which somebody has just signed in by password, and may link accounts elsewhere."""
    return sign_in(browser, person)
