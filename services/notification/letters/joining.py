"""What we write to people who ask to join."""

from dataclasses import dataclass

from flask_babel import gettext as _

from services.notification.letters.letter import (
    Block,
    Button,
    Letter,
    Link,
    Moment,
    Paragraph,
    Quotation,
    Reference,
    Words,
    in_words,
)


@dataclass(frozen=True, kw_only=True, repr=False)
class ConfirmAddress(Letter):
    NAME = "confirm_address"

    link: Link

    def subject(self) -> str:
        return _("Confirm your e-mail address")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "You asked to join UpdSpace with this address. Please confirm that it is yours, "
                    "so that we can look at your application."
                )
            ),
            Button(_("Confirm the address"), self.link),
            Paragraph(_("If it was not you, ignore this mail: nothing more will happen without you.")),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ActivationLink(Letter):
    NAME = "activation_link"

    link: Link
    expires_at: Moment
    status: Link | None = None

    def subject(self) -> str:
        return _("Welcome: your application is approved")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _("Your application to join UpdSpace is approved. One step is left: open your account.")
            ),
            Button(_("Open your account"), self.link),
            Paragraph(
                _(
                    "The link works once, until %(moment)s. If that has passed, the page behind it offers a "
                    "fresh one.",
                    moment=in_words(self.expires_at),
                )
            ),
            Paragraph(_("The link is yours alone: please do not pass this mail on.")),
            *_where_it_stands(self.status),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ApplicationRejected(Letter):
    NAME = "application_rejected"

    reason: Words | None
    status: Link | None = None

    def subject(self) -> str:
        return _("About your application")

    def blocks(self, public_url: str) -> list[Block]:
        blocks: list[Block] = [
            Paragraph(
                _(
                    "Thank you for your interest in UpdSpace. We have looked at your application and cannot "
                    "accept it this time."
                )
            )
        ]
        if self.reason:
            blocks += [Paragraph(_("What our reviewer wrote about it:")), Quotation(self.reason)]
        return [*blocks, *_where_it_stands(self.status)]


@dataclass(frozen=True, kw_only=True, repr=False)
class AddressConfirmed(Letter):
    NAME = "address_confirmed"

    status: Link

    def subject(self) -> str:
        return _("Your application is with our reviewers")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "Thank you, your address is confirmed. A reviewer reads your application now, and we write to "
                    "you as soon as it is decided."
                )
            ),
            Button(_("See where it stands"), self.status),
            Paragraph(
                _(
                    "There you also see questions that a reviewer may have, and can withdraw the application. "
                    "Keep this mail: the link works as long as the application is open, and it is yours alone."
                )
            ),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ApplicationWithdrawn(Letter):
    NAME = "application_withdrawn"

    status: Link

    def subject(self) -> str:
        return _("Your application is withdrawn")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _("As you wished, your application to join UpdSpace is withdrawn. Nobody goes on reading it.")
            ),
            Paragraph(
                _(
                    "If you think better of it, or if it was not you who withdrew it, you may apply again at any time:"
                )
            ),
            Button(_("Apply again"), f"{public_url}/apply"),
            *_where_it_stands(self.status),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ApplicationExpired(Letter):
    NAME = "application_expired"

    status: Link

    def subject(self) -> str:
        return _("Your application has expired")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(
                _(
                    "Your application to join UpdSpace has waited for you for a long time, and nothing came. So it "
                    "has expired: links in our earlier mails no longer work."
                )
            ),
            Paragraph(_("You are welcome to apply again at any time:")),
            Button(_("Apply again"), f"{public_url}/apply"),
            *_where_it_stands(self.status),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class Invitation(Letter):
    """To somebody whose name we do not know yet."""

    NAME = "invitation"

    inviter: str | None
    """Who invites, by name; None where that is no person whose name we know."""
    link: Link
    expires_at: Moment

    def subject(self) -> str:
        return _("You are invited to join UpdSpace")

    def blocks(self, public_url: str) -> list[Block]:
        invited = (
            _("%(inviter)s invites you to join UpdSpace.", inviter=self.inviter)
            if self.inviter
            else _("You are invited to join UpdSpace.")
        )
        return [
            Paragraph(invited),
            Paragraph(_("Tell us who you are, and you can open your account at once.")),
            Button(_("Accept the invitation"), self.link),
            Paragraph(_("The invitation works until %(moment)s.", moment=in_words(self.expires_at))),
            Paragraph(_("If you do not want to join, ignore this mail: nothing will happen without you.")),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ApplicationQuestion(Letter):
    NAME = "application_question"

    question: Words
    link: Link

    def subject(self) -> str:
        return _("A question about your application")

    def blocks(self, public_url: str) -> list[Block]:
        return [
            Paragraph(_("We are looking at your application to join UpdSpace, and have a question:")),
            Quotation(self.question),
            Button(_("Answer the question"), self.link),
            Paragraph(
                _(
                    "Please answer on that page; nobody reads replies to this mail. It shows how your application "
                    "stands, too."
                )
            ),
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class DecisionTakenBack(Letter):
    NAME = "decision_taken_back"

    link: Link | None

    def subject(self) -> str:
        return _("We are looking at your application again")

    def blocks(self, public_url: str) -> list[Block]:
        blocks: list[Block] = [
            Paragraph(
                _(
                    "We wrote to you about our decision on your application to join UpdSpace. Please disregard it: "
                    "we have taken it back, and look at your application again. A link to open an account that "
                    "came with it works no longer."
                )
            ),
            Paragraph(_("We are sorry for the back and forth, and write to you as soon as it is decided.")),
        ]
        if self.link:
            blocks.append(Button(_("See how it stands"), self.link))
        return blocks


def _where_it_stands(status: str | None) -> list[Block]:
    """The way to the page of the application; before the address was confirmed nobody is given one."""
    return [Reference(_("Where your application stands you always see here:"), status)] if status else []
