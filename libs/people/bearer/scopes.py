"""The scopes of our own APIs, which a client asks for and a person is asked about."""

from typing import Any

from flask_babel import lazy_gettext

API_SCOPES: dict[str, Any] = {
    "me": lazy_gettext("see and change your account here, and where you are signed in"),
    "users:read": lazy_gettext("see everybody's accounts, as far as your role allows it"),
    "users:write": lazy_gettext("change everybody's accounts, as far as your role allows it"),
    "applications:read": lazy_gettext(
        "see who asks to join and who is invited, as far as your role allows it"
    ),
    "applications:write": lazy_gettext("decide who joins, and invite people, as far as your role allows it"),
    "messages:read": lazy_gettext("see which mail was sent and which was not, as far as your role allows it"),
    "messages:write": lazy_gettext(
        "send mail again and let addresses have mail again, as far as your role allows it"
    ),
    "clients:read": lazy_gettext("see the apps that sign people in here, as far as your role allows it"),
    "clients:write": lazy_gettext("register and change apps, as far as your role allows it"),
}
"""The scopes of our own APIs in the words of a question to a person, in the order in which they are asked."""
OWN_SCOPES = frozenset({"me"})
"""What anybody may allow; the others are for people with a role."""
