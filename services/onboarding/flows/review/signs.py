"""Signs of abuse: what a reviewer should know before saying yes. They decide nothing by themselves."""

import re
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.service import parts_of
from services.onboarding.extensions import db
from services.onboarding.flows import policies
from services.onboarding.models import Application

NETWORK_SPAN, ADDRESS_SPAN, TEXT_SPAN = timedelta(days=1), timedelta(days=30), timedelta(days=30)
MANY_OF_A_NETWORK = 5
"""From so many in a day on it is a sign; fewer are a household or a classroom."""
SHORTEST_TEXT = 30
"""Characters; shorter texts are alike by chance."""
MOST_COUNTED = 100
_why_start = sa.literal_column("left(lower(why), 30)", sa.Text)
"""As its index has it."""
_LINK = re.compile(
    r"https?://\S+|www\.\S+|\b[\w-]+\.(?:com|net|org|info|biz|ru|io|me|xyz|top|site|online|shop)\b", re.I
)


@dataclass(frozen=True)
class Sign:
    """A thing to look at: `kind` is a word that pages and programs know, `count` how often, where that says much."""

    kind: str
    count: int = 0


def of(application: Application) -> list[Sign]:
    """The signs of an application, the heaviest first."""
    found = [
        _domain(application),
        _at_least(Sign("links_in_name", len(_LINK.findall(application.name))), 1),
        _at_least(Sign("same_text", _same_text(application)), 1),
        _at_least(Sign("network", _of_network(application)), MANY_OF_A_NETWORK),
        _at_least(Sign("address", _of_address(application)), 2),
        _at_least(Sign("links_in_text", len(_LINK.findall(_words(application)))), 1),
        Sign(f"mail_{application.mail_trouble}") if application.mail_trouble else None,
    ]
    return [sign for sign in found if sign is not None]


def _at_least(sign: Sign, count: int) -> Sign | None:
    return sign if sign.count >= count else None


def _words(application: Application) -> str:
    answers = (value for value in application.answers.values() if isinstance(value, str))
    return "\n".join([application.why, *answers])


def _domain(application: Application) -> Sign | None:
    domain = application.email_folded.rpartition("@")[2]
    if policies.covers(policies.get_policy().refused_domains, domain):
        return Sign("refused_domain")
    is_disposable = policies.covers(parts_of(current_app).settings.disposable_domains, domain)
    return Sign("disposable_domain") if is_disposable else None


def _of_network(application: Application) -> int:
    """How many came from the network in the day that ended when this one came, this one among them."""
    if application.network is None:
        return 0
    since = first_uuid7(application.submitted_at - NETWORK_SPAN)
    return _count(
        Application.network == application.network, Application.id >= since, Application.id <= application.id
    )


def _of_address(application: Application) -> int:
    if not application.email_folded:
        return 0
    since = first_uuid7(application.submitted_at - ADDRESS_SPAN)
    same = Application.email_folded == application.email_folded
    return _count(same, Application.id >= since, Application.id <= application.id)


def _same_text(application: Application) -> int:
    """How many others sent the same text lately, small and capital letters alike."""
    if len(application.why) < SHORTEST_TEXT:
        return 0
    text = sa.func.lower(application.why)
    alike = (
        sa.select(Application.why, Application.email_folded)
        .where(
            _why_start == sa.func.left(text, SHORTEST_TEXT),
            Application.id >= first_uuid7(utcnow() - TEXT_SPAN),
        )
        .order_by(Application.id.desc())
        .limit(10 * MOST_COUNTED)
        .subquery()
    )
    same = (
        sa.select(sa.func.count())
        .select_from(alike)
        .where(sa.func.lower(alike.c.why) == text, alike.c.email_folded != application.email_folded)
    )
    return db.session.scalar(same) or 0


def _count(*conditions: sa.ColumnElement[bool]) -> int:
    found = sa.select(Application.id).where(*conditions).limit(MOST_COUNTED).subquery()
    return db.session.scalar(sa.select(sa.func.count()).select_from(found)) or 0
