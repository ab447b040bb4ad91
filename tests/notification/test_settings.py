"""Settings that must not start, each with a sentence that names the variable."""

import pytest

from libs.settings import SettingsError
from services.notification.settings import NotificationSettings, SMTPServer

PRODUCTION = {
    "ID_ENV": "production",
    "PUBLIC_URL": "https://id.updspace.test",
    "SMTP_URL": "smtp+starttls://suite:word@mail.updspace.test",
    "MAIL_FROM": "UpdSpace ID <id@updspace.test>",
}


def load(environment: dict[str, str], **changes: str) -> NotificationSettings:
    return NotificationSettings.load({**environment, **changes})


def test_production_starts_with_a_mail_server_and_a_sender(environment: dict[str, str]) -> None:
    settings = load(environment, **PRODUCTION)
    assert settings.smtp_server == SMTPServer("smtp+starttls", "mail.updspace.test", 587, "suite", "word")
    assert settings.sender.addr_spec == "id@updspace.test"
    assert settings.sender.display_name == "UpdSpace ID"


@pytest.mark.parametrize("stage", ["staging", "production"])
@pytest.mark.parametrize("name", ["SMTP_URL", "MAIL_FROM"])
def test_outside_development_mail_needs_a_way_out(environment: dict[str, str], stage: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        load(environment, **{**PRODUCTION, "ID_ENV": stage, name: ""})


def test_development_needs_neither(environment: dict[str, str]) -> None:
    settings = load(environment, SMTP_URL="", MAIL_FROM="")
    assert settings.smtp_server is None
    assert settings.sender.addr_spec == "no-reply@localhost"


@pytest.mark.parametrize(
    "url",
    [
        "http://mail.updspace.test",
        "smtp://",
        "mail.updspace.test:25",
        "smtp://mail.updspace.test:port",
        "smtps://suite:pass/word@mail.updspace.test",
        "smtp://suite:a-plain-word@mail.updspace.example",
    ],
)
def test_a_bad_mail_server_stops_the_start_and_is_not_repeated(environment: dict[str, str], url: str) -> None:
    with pytest.raises(SettingsError, match=r"^SMTP_URL must") as caught:
        load(environment, **{**PRODUCTION, "SMTP_URL": url})
    assert "word@" not in str(caught.value)
    assert "plain-word" not in str(caught.value)


@pytest.mark.parametrize("sender", ["UpdSpace ID", "id@", "a@b.test, c@d.test", "ид@updspace.test", "<>"])
def test_a_bad_sender_stops_the_start(environment: dict[str, str], sender: str) -> None:
    with pytest.raises(SettingsError, match=r"^MAIL_FROM must"):
        load(environment, **{**PRODUCTION, "MAIL_FROM": sender})


@pytest.mark.parametrize("seconds", ["0", "51", "soon"])
def test_a_bad_time_out_stops_the_start(environment: dict[str, str], seconds: str) -> None:
    with pytest.raises(SettingsError, match=r"^SMTP_TIMEOUT_S must"):
        load(environment, **PRODUCTION, SMTP_TIMEOUT_S=seconds)


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 25), ("smtp+starttls", 587), ("smtps", 465)])
def test_each_kind_of_server_has_its_port(scheme: str, port: int) -> None:
    assert SMTPServer.parse(f"{scheme}://mail.test").port == port
    assert SMTPServer.parse(f"{scheme}://mail.test:2525").port == 2525
    assert SMTPServer.parse(f"{scheme}://u%40x:a%2Fb@mail.test").password == "a/b"


def test_what_settings_print_holds_no_password(environment: dict[str, str]) -> None:
    settings = load(environment, **{**PRODUCTION, "SMTP_URL": "smtps://suite:a-marked-word@mail.test"})
    assert "a-marked-word" not in repr(settings)
    assert "a-marked-word" not in repr(settings.smtp_server)


KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_secrets_of_the_webhook_are_keys(environment: dict[str, str]) -> None:
    settings = load(environment, MAIL_FEEDBACK_SECRETS=f"{KEY}, {KEY.replace('Mf', 'Nf')}")
    assert [len(key) for key in settings.mail_feedback_keys] == [24, 24]
    assert KEY not in repr(settings)
    assert load(environment).mail_feedback_keys == ()


@pytest.mark.parametrize(
    "secret",
    [
        KEY.removeprefix("whsec_"),
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_not base64",
        f"{KEY},short",
        "whsec_" + "A" * 32,
        "whsec_" + "QUJD" * 30,
    ],
)
def test_a_bad_secret_of_the_webhook_stops_the_start_and_is_not_repeated(
    environment: dict[str, str], secret: str
) -> None:
    with pytest.raises(SettingsError, match=r"^MAIL_FEEDBACK_SECRETS") as caught:
        load(environment, MAIL_FEEDBACK_SECRETS=secret)
    assert secret.removeprefix("whsec_")[:12] not in str(caught.value) or secret == "whsec_"
