"""The doctor's look at the mail server: it takes us, and takes our sign-in; no mail is sent."""

import smtplib
import ssl
from collections.abc import Iterator

from libs.doctor import Examined, Finding, fine, wrong
from services.notification.transport.connections import Connection
from services.notification.transport.conversation import Unusable, greet

PATIENCE_S = 5.0
FIX = "Is it up, and is SMTP_URL its address, with the right way (smtp, smtp+starttls, smtps) and sign-in?"


def look_at_smtp(examined: Examined) -> Iterator[Finding]:
    server = examined.settings.smtp_server
    if "SMTP_URL" in examined.refused:
        return
    if server is None:
        yield fine("SMTP", "Mail ends in the development mailbox.")
        return
    connection = Connection(
        server, timeout_s=min(PATIENCE_S, examined.settings.SMTP_TIMEOUT_S), our_name=examined.settings.host
    )
    try:
        greet(connection)
        yield fine("SMTP", f"The mail server takes us{', and our sign-in' if server.user else ''}.")
    except smtplib.SMTPAuthenticationError:
        yield wrong("SMTP", "The mail server refuses the user or the password of SMTP_URL.", FIX)
    except ssl.SSLError:
        yield wrong("SMTP", "The mail server's certificate, or its TLS, is not one that we trust.", FIX)
    except (smtplib.SMTPException, Unusable, OSError) as error:
        yield wrong("SMTP", f"The mail server did not take us ({type(error).__name__}).", FIX)
    finally:
        connection.say_goodbye()
