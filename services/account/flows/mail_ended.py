"""Mail of ours that will not arrive: links that their owner cannot ask for are made anew, and staff see the rest."""

import uuid

from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.observe.logs import get_logger
from services.account.extensions import audit, db
from services.account.flows.password_links import mail_link
from services.account.flows.users import find_and_lock, normalise_email
from services.account.flows.ways_in import is_opened
from services.account.models import PasswordLink, SecurityNotice, User

log = get_logger("account.mail_ended")

MADE_ANEW = ("set_password", "account_secured")
"""What staff have mailed: nobody waits for it, so nobody would ask again. Who forgot a password presses a button."""
MOST_IN_A_ROW = 3


def note_ended(*, template: str, deduplication_key: str, outcome: str) -> None:
    """Do what can be done about a mail of ours that ended. `outcome` is a word of MailEnded.

    Told late, when the link has been used or replaced or the address is another one, it changes nothing.
    """
    try:
        cause_id = uuid.UUID(deduplication_key.partition(":")[2])
    except ValueError:
        return
    with db.transaction() as session:
        link = session.get(PasswordLink, cause_id, populate_existing=True)
        notice = None if link else session.get(SecurityNotice, cause_id, populate_existing=True)
        cause = link or notice
        user = find_and_lock(session, User.id == cause.user_id) if cause else None
        if user is None:
            return  # erased, or a mail to an address that is nobody's yet
        if link:
            session.refresh(link)  # as it is now that its owner's row is held
            if link.used_at is None:
                _end_of_link(session, user, link, template=template, outcome=outcome)
        elif notice and outcome != "too_late" and normalise_email(notice.email) == user.email_normalised:
            _note_trouble(user, template=template, outcome=outcome)


def _end_of_link(
    session: DatabaseSession, user: User, link: PasswordLink, *, template: str, outcome: str
) -> None:
    if outcome != "too_late" or link.made_anew >= MOST_IN_A_ROW:
        _note_trouble(user, template=template, outcome=outcome)
        return
    is_waited_for = link.purpose == "reset" or not is_opened(session, user.id)
    if template in MADE_ANEW and user.is_active and is_waited_for:
        mail_link(session, user, purpose=link.purpose, letter=template, made_anew=link.made_anew + 1)
        audit.record("password.link_made_anew", target=f"user:{user.sub}", after={"template": template})


def _note_trouble(user: User, *, template: str, outcome: str) -> None:
    user.mail_trouble, user.mail_trouble_at = outcome, utcnow()
    audit.record(
        "user.mail_ended", target=f"user:{user.sub}", after={"template": template, "outcome": outcome}
    )
    log.info("mail_ended", sub=user.sub, template=template, outcome=outcome)
