"""What we write to reviewers about applications that wait for them."""

from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import ngettext

from services.notification.letters.letter import (
    Block,
    Button,
    Count,
    Letter,
    Link,
    Moment,
    Paragraph,
    in_words,
)


def _choice(public_url: str) -> list[Block]:
    """Where a reviewer says when to be written to."""
    return [
        Paragraph(_("How often we write to you about applications is yours to choose:")),
        Button(_("Choose when"), f"{public_url}/admin/applications/mail"),
    ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ApplicationWaits(Letter):
    NAME = "application_waits"

    applicant: str
    link: Link

    def subject(self) -> str:
        return _("An application waits for a review")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "%(applicant)s has asked to join UpdSpace and confirmed the address. The application waits for "
                    "a reviewer.",
                    applicant=self.applicant,
                )
            ),
            Button(_("Look at the application"), self.link),
            *_choice(public_url),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ReviewDigest(Letter):
    NAME = "review_digest"

    count: Count
    since: Moment
    link: Link

    def subject(self) -> str:
        return ngettext(
            "%(num)s application waits for a review", "%(num)s applications wait for a review", self.count
        )

    def blocks(self, public_url: str) -> list[Block]:
        waiting = ngettext(
            "%(num)s application waits for you or any other reviewer.",
            "%(num)s applications wait for you or any other reviewer.",
            self.count,
        )
        oldest = _("The oldest has waited since %(moment)s.", moment=in_words(self.since))
        return [
            Paragraph(f"{waiting} {oldest}"),
            Button(_("Open the applications"), self.link),
            *_choice(public_url),
        ]
