"""Devices and ways to sign in, in words that their owner recognises."""

from collections.abc import Sequence

from flask_babel import gettext

from services.account.providers import label_of

# Browsers claim to be their forebears, so the more particular names stand first.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("YaBrowser", "Yandex Browser"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
)
SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def device_name(user_agent: str) -> str:
    """What a browser says it is, in words its owner recognises."""
    browser = next((name for sign, name in BROWSERS if sign in user_agent), None)
    system = next((name for sign, name in SYSTEMS if sign in user_agent), None)
    if browser and system:
        return gettext("%(browser)s on %(system)s", browser=browser, system=system)
    return browser or system or gettext("Unknown device")


def way_names(amr: Sequence[str], provider: str | None = None) -> list[str]:
    """How a person signed in, in words (RFC 8176 has the codes); the word that sums them up is left out."""
    words = {
        "pwd": gettext("Password"),
        "otp": gettext("One-time code"),
        "hwk": gettext("Passkey"),
        "swk": gettext("Passkey"),
        "fed": label_of(provider) if provider else gettext("Another account"),
    }
    return list(dict.fromkeys(words.get(method, method) for method in amr if method not in ("mfa", "user")))


def method_name(method: str) -> str:
    """The way of one attempt to sign in, as login events name it; a provider's name stands for itself."""
    words = {
        "password": gettext("Password"),
        "passkey": gettext("Passkey"),
        "totp": gettext("One-time code"),
        "recovery_code": gettext("Recovery code"),
        "mail_code": gettext("Code by mail"),
        "link": gettext("Mailed link"),
        "enrolment": gettext("Opening the account"),
    }
    return words.get(method, method)


def outcome_name(reason: str | None) -> str:
    """How an attempt to sign in ended, for whoever it was about; None is success."""
    words = {
        None: gettext("Signed in"),
        "unknown_account": gettext("No such account"),
        "bad_password": gettext("Wrong password"),
        "bad_second_factor": gettext("Wrong second step"),
        "disabled": gettext("The account is disabled"),
        "not_activated": gettext("The account is not set up yet"),
        "throttled": gettext("Refused for a while"),
        "expired": gettext("It took too long"),
        "provider_error": gettext("The other service failed"),
        "cancelled": gettext("Given up"),
    }
    return words.get(reason, reason or "")
