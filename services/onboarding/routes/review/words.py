"""What reviewers read for the words of the flows: states, filters, actions, signs, troubles of mail."""

from datetime import datetime, timedelta
from typing import Any

from flask_babel import format_timedelta, gettext, lazy_gettext, ngettext

from libs.database import utcnow
from services.onboarding.flows.review.signs import Sign

STATES = {
    "submitted": lazy_gettext("Submitted"),
    "confirmed": lazy_gettext("Address confirmed"),
    "in_review": lazy_gettext("In review"),
    "approved": lazy_gettext("Approved"),
    "rejected": lazy_gettext("Rejected"),
    "expired": lazy_gettext("Expired"),
    "withdrawn": lazy_gettext("Withdrawn"),
    "activated": lazy_gettext("Activated"),
}
GROUPS = {
    "undecided": lazy_gettext("Undecided"),
    "unclaimed": lazy_gettext("Unclaimed"),
    "mine": lazy_gettext("Claimed by me"),
    "others": lazy_gettext("Claimed by others"),
    "waiting": lazy_gettext("Waiting for the applicant"),
}
FILTERS = {**GROUPS, **STATES, "all": lazy_gettext("All")}
KINDS = {"approved": "good", "activated": "good", "rejected": "bad"}
QUESTIONS = {"asked": lazy_gettext("Question asked"), "answered": lazy_gettext("Answered")}
TROUBLES = {
    "failed": lazy_gettext("The last mail could not be delivered: the address may be mistyped or full."),
    "suppressed": lazy_gettext(
        "The last mail was not sent: mail to this address came back before, or was called spam."
    ),
    "too_late": lazy_gettext("The last mail could not leave before its link had expired."),
}
WAYS_OUT = {
    "failed": lazy_gettext("Reach the applicant by another way, or send a fresh mail later."),
    "suppressed": lazy_gettext("Lift the suppression of the address under Messages, then send a fresh mail."),
    "too_late": lazy_gettext("Send a fresh mail; its link is new."),
}
MAILS = {
    "at_once": lazy_gettext("At once, for each application that needs a review"),
    "digest": lazy_gettext("Once a day, if something waits"),
    "never": lazy_gettext("Never"),
}
ACTIONS = {
    "application.submitted": lazy_gettext("Application submitted"),
    "application.answers_changed": lazy_gettext("Answers changed before the address was confirmed"),
    "application.mail_repeated": lazy_gettext("A fresh mail was asked for"),
    "application.address_confirmed": lazy_gettext("Address confirmed"),
    "application.claimed": lazy_gettext("Claimed"),
    "application.released": lazy_gettext("Claim given back"),
    "application.note_written": lazy_gettext("Note for reviewers"),
    "application.question_asked": lazy_gettext("Question to the applicant"),
    "application.question_answered": lazy_gettext("Answer"),
    "application.approved": lazy_gettext("Approved"),
    "application.rejected": lazy_gettext("Rejected"),
    "application.decision_taken_back": lazy_gettext("Decision taken back"),
    "application.expired": lazy_gettext("Expired"),
    "application.withdrawn": lazy_gettext("Withdrawn"),
    "application.enrolled_meanwhile": lazy_gettext("Enrolled all the same: they were on their way already"),
    "application.link_printed": lazy_gettext("Activation link made by command"),
    "application.directly_activated": lazy_gettext("Activated directly by command"),
    "application.mail_ended": lazy_gettext("A mail did not arrive"),
    "application.activated": lazy_gettext("Account opened"),
}


def age(moment: datetime) -> str:
    """How long ago something was, as people count it."""
    passed = max(utcnow() - moment, timedelta())
    return gettext("less than a minute") if passed < timedelta(minutes=1) else format_timedelta(passed)


def ago(moment: datetime) -> str:
    """The same in a sentence: 3 days ago."""
    return format_timedelta(min(moment - utcnow(), timedelta(seconds=-1)), add_direction=True)


def sign(found: Sign) -> str:
    """What a sign says."""
    counted = {
        "network": lambda num: ngettext(
            "%(num)s application came from this network within a day.",
            "%(num)s applications came from this network within a day.",
            num,
        ),
        "address": lambda num: ngettext(
            "%(num)s application came from this address within 30 days.",
            "%(num)s applications came from this address within 30 days.",
            num,
        ),
        "same_text": lambda num: ngettext(
            "%(num)s other application has the same text.",
            "%(num)s other applications have the same text.",
            num,
        ),
        "links_in_text": lambda num: ngettext(
            "There is %(num)s link in the answers.", "There are %(num)s links in the answers.", num
        ),
    }
    plain: dict[str, Any] = {
        "refused_domain": gettext("The policy refuses this mail domain."),
        "disposable_domain": gettext("The address is of a service for throw-away addresses."),
        "links_in_name": gettext("There is a link in the name."),
        "mail_failed": gettext("Mail to this address failed."),
        "mail_suppressed": gettext("No mail goes to this address."),
        "mail_too_late": gettext("A mail was too late."),
    }
    return counted[found.kind](found.count) if found.kind in counted else str(plain[found.kind])
