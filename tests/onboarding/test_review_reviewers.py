"""Mail to reviewers: at once, once a day, or never, as each has chosen."""

import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.events import MailRequested, UserChanged
from libs.service import parts_of
from services.onboarding.flows import policies
from services.onboarding.flows.review import reviewers
from services.onboarding.models import Application, Person, ReviewerChoice
from tests.conftest import receive, sign_in_copy
from tests.onboarding import steps
from tests.onboarding.test_review_claims import act
from tests.pages import ORIGIN, Browser


class Reviewer:
    """A reviewer whom account has told of, at a browser."""

    def __init__(self, app: Flask, *, roles: tuple[str, ...] = ("reviewer",), locale: str = "en"):
        self.app, self.locale, self.version = app, locale, 0
        self.browser = Browser(app)
        self.sub = sign_in_copy(self.browser, app, roles=list(roles)).sub
        self.email = f"{self.sub[:8]}@staff.test"
        self.become(roles=roles)

    def become(self, *, roles: tuple[str, ...] = ("reviewer",), status: str = "active") -> None:
        self.version += 1
        event = UserChanged(
            sub=self.sub,
            version=self.version,
            status=status,
            roles=list(roles),
            claims={"name": "Rita", "email": self.email},
            locale=self.locale,
        )
        receive(self.app, event, "account")

    def choose(self, word: str) -> None:
        self.browser.fill("/admin/applications/mail", button="keep", mail=word, follow=True)
        assert "Your choice is kept." in self.browser.text

    def mails(self, template: str) -> list[MailRequested]:
        return steps.mails(self.app, self.email, template)


@pytest.fixture
def hire(onboarding_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Reviewer]]:
    """Makes the only reviewers there are, at an hour from which digests leave."""
    parts = parts_of(onboarding_app)
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, DIGEST_HOUR=0))
    with onboarding_app.app_context():
        parts.db.session.execute(sa.delete(Person))
        parts.db.session.execute(sa.delete(ReviewerChoice))
        # Whatever other tests have left undecided waits for nobody here.
        parts.db.session.execute(
            sa.update(Application).where(Application.confirmed_at.is_not(None)).values(state="expired")
        )
        parts.db.session.commit()

    def make(**traits: object) -> Reviewer:
        return Reviewer(onboarding_app, **traits)  # type: ignore[arg-type]

    yield make


def send_digests(app: Flask) -> None:
    with app.app_context():
        parts_of(app).tasks.functions["onboarding.mail_digests"]()


def waiting(app: Flask, name: str = "Ada Lovelace") -> str:
    email = steps.apply(app, name=name)
    steps.confirm(app, email)
    return email


def a_day_passes(app: Flask) -> None:
    with app.app_context():
        session = parts_of(app).db.session
        session.execute(
            sa.update(ReviewerChoice).values(last_digest_at=ReviewerChoice.last_digest_at - timedelta(days=1))
        )
        session.commit()


def test_whoever_wants_to_know_at_once_is_told_when_the_address_is_confirmed(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    eager, calm = hire(locale="ru"), hire()
    eager.choose("at_once")
    email = steps.apply(onboarding_app, name="Ada %s <b>")
    assert not eager.mails("application_waits"), "nothing is to be reviewed yet"
    steps.confirm(onboarding_app, email)
    [mail] = eager.mails("application_waits")
    page = f"{ORIGIN}{steps.page_of(onboarding_app, email)}"
    assert mail.context == {"name": "Rita", "applicant": "Ada %s <b>", "link": page}
    assert mail.locale == "ru"
    assert not calm.mails("application_waits")


def test_what_was_decided_before_is_told_to_nobody(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    eager = hire()
    eager.choose("at_once")
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email, eager.browser)
    steps.confirm(onboarding_app, email)
    assert not eager.mails("application_waits")


def test_the_digest_comes_once_a_day_and_only_when_something_waits(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    calm = hire()
    send_digests(onboarding_app)
    assert not calm.mails("review_digest"), "nothing waits"
    for _ in range(2):
        waiting(onboarding_app)
    steps.apply(onboarding_app)
    for _ in range(2):
        send_digests(onboarding_app)
    [mail] = calm.mails("review_digest")
    assert mail.context["count"] == 2, "an unproven address waits for the applicant"
    assert mail.context["link"] == f"{ORIGIN}/admin/applications"
    a_day_passes(onboarding_app)
    send_digests(onboarding_app)
    assert len(calm.mails("review_digest")) == 2


def test_a_digest_tells_of_what_its_reader_could_do(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    one, other = hire(), hire()
    free, mine, asked = (waiting(onboarding_app) for _ in range(3))
    act(onboarding_app, one.browser, mine, "take")
    act(onboarding_app, one.browser, asked, "ask", question="Who are you?")
    send_digests(onboarding_app)
    counts = [reviewer.mails("review_digest")[0].context["count"] for reviewer in (one, other)]
    assert counts == [2, 1]
    assert steps.facts(onboarding_app, free)["state"] == "confirmed"


def test_nobody_is_written_to_who_chose_never_or_may_review_no_more(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    never, support = hire(), hire(roles=("support",))
    never.choose("never")
    gone, disabled, admin = hire(), hire(), hire(roles=("admin",))
    for reviewer in (gone, disabled, admin):
        reviewer.choose("at_once")
    gone.become(roles=())
    disabled.become(status="disabled")
    waiting(onboarding_app)
    assert admin.mails("application_waits")
    admin.choose("digest")
    gone.become()
    gone.choose("digest")
    gone.become(roles=("support",))
    send_digests(onboarding_app)
    assert admin.mails("review_digest")
    for reviewer in (never, support, gone, disabled):
        assert not reviewer.mails("application_waits")
        assert not reviewer.mails("review_digest")


def test_digests_sent_side_by_side_come_once(onboarding_app: Flask, hire: Callable[..., Reviewer]) -> None:
    crowd = [hire() for _ in range(3)]
    waiting(onboarding_app)
    start = threading.Barrier(4)

    def send() -> None:
        start.wait()
        send_digests(onboarding_app)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(reviewer.mails("review_digest")) for reviewer in crowd] == [1, 1, 1]


def test_no_digest_leaves_before_its_hour(
    onboarding_app: Flask, hire: Callable[..., Reviewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = hire()
    waiting(onboarding_app)
    parts = parts_of(onboarding_app)
    now = utcnow().replace(hour=5, minute=59)
    monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, DIGEST_HOUR=6))
    monkeypatch.setattr(reviewers, "utcnow", lambda: now)
    send_digests(onboarding_app)
    assert not calm.mails("review_digest")
    monkeypatch.setattr(reviewers, "utcnow", lambda: now + timedelta(minutes=1))
    send_digests(onboarding_app)
    assert len(calm.mails("review_digest")) == 1


def test_a_reviewers_lost_mail_is_no_trouble_of_the_application(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    from libs.messaging.events import MailEnded

    eager = hire()
    eager.choose("at_once")
    email = waiting(onboarding_app)
    [mail] = eager.mails("application_waits")
    event = MailEnded(template=mail.template, deduplication_key=mail.deduplication_key, outcome="failed")
    assert receive(onboarding_app, event, "notification") == "handled"
    assert steps.facts(onboarding_app, email)["mail_trouble"] is None


def test_whether_anybody_could_review_is_known(
    onboarding_app: Flask, hire: Callable[..., Reviewer], nobody_reviews: None
) -> None:
    def exist() -> bool:
        with onboarding_app.app_context():
            return policies.look_at_door().has_form

    assert not exist(), "so nobody may apply"
    hire(roles=("support",))
    assert not exist()
    reviewer = hire()
    assert exist()
    reviewer.become(status="disabled")
    assert not exist()


def test_a_choice_nobody_knows_is_refused(hire: Callable[..., Reviewer]) -> None:
    reviewer = hire()
    reviewer.browser.fill("/admin/applications/mail", button="keep", mail="hourly")
    assert reviewer.browser.status == 422
    assert "Choose one of these." in reviewer.browser.text
    assert uuid.UUID(reviewer.sub)


def test_the_page_shows_the_choice_and_is_for_reviewers(
    onboarding_app: Flask, hire: Callable[..., Reviewer]
) -> None:
    reviewer = hire()
    for word in ("at_once", "never", "digest"):
        reviewer.choose(word)
        assert f'value="{word}" checked' in reviewer.browser.text
    stranger = Browser(onboarding_app)
    sign_in_copy(stranger, onboarding_app, roles=["support"])
    assert stranger.get("/admin/applications/mail").status_code == 403
