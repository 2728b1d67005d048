"""Handing a mail to a server by SMTP, in a thread, with the standard library.

The Message-ID is made of what the mail is about, so that a repeat, after a crash or an answer that
was lost, is the same mail to whoever compares them.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime

from starlings import StepFailed, TransientError
from starlings.messages import ConfigError, StarlingsError
from starlings_agents.net.secret_values import SHORTEST, Redactor

from .settings import NotifySettings

_PERMANENT = 500
_LONGEST = 3  # a server that answers each command just in time is left after so many timeouts


def compose(
    settings: NotifySettings,
    *,
    to: list[str],
    subject: str,
    text: str,
    html: str | None,
    message_id: str,
    in_reply_to: str | None,
) -> EmailMessage:
    """Write a mail.

    Raises:
        ConfigError: nobody is set to send it.
        StepFailed: `mail_invalid`.
    """
    if settings.mail_from is None or settings.smtp_host is None:
        raise ConfigError("set STARLINGS_NOTIFY_SMTP_HOST and STARLINGS_NOTIFY_MAIL_FROM for mail")
    mail = EmailMessage(policy=SMTP)
    try:
        mail["From"], mail["To"] = settings.mail_from, ", ".join(to)
        mail["Subject"] = " ".join(subject.split())
        mail["Date"] = format_datetime(localtime())
        mail["Message-ID"] = f"<{message_id}@{settings.mail_from.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes in return
        if in_reply_to:
            mail["In-Reply-To"] = mail["References"] = in_reply_to
        mail.set_content(text)
        if html:
            mail.add_alternative(html, subtype="html")
    except (ValueError, IndexError) as error:
        said = str(error)
    else:
        return mail
    raise StepFailed(f"the mail cannot be written: {said}", code="mail_invalid")


async def send(mail: EmailMessage, settings: NotifySettings) -> list[str]:
    """Hand a mail to the server; return who it refused while it took the mail for others.

    Raises:
        StepFailed: `mail_refused`, `smtp_unauthorized`, `smtp_untrusted`.
        TransientError: `smtp_unavailable`, `mail_not_taken`.
    """
    redactor = Redactor()
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
    if len(password) >= SHORTEST:
        redactor.add("STARLINGS_NOTIFY_SMTP_PASSWORD", password)
    failure: StarlingsError
    try:
        async with asyncio.timeout(_LONGEST * settings.timeout_s):
            return await asyncio.to_thread(_send, mail, settings, password)
    except (smtplib.SMTPException, OSError) as error:  # a TimeoutError, too
        failure = redactor.error(_told(error, f"{settings.smtp_host}:{settings.smtp_port}"))
    raise failure  # out here, so that no error behind it can quote what was sent


def _send(mail: EmailMessage, settings: NotifySettings, password: str) -> list[str]:
    host, port, timeout_s = settings.smtp_host or "", settings.smtp_port, settings.timeout_s
    context = ssl.create_default_context()
    if settings.smtp_ca_file:
        context.load_verify_locations(cafile=settings.smtp_ca_file)
    with (
        smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
        if settings.smtp_tls == "tls"
        else smtplib.SMTP(host, port, timeout=timeout_s)
    ) as server:
        if settings.smtp_tls == "starttls":
            server.starttls(context=context)
        if settings.smtp_user:
            server.login(settings.smtp_user, password)
        return sorted(server.send_message(mail))


def _told(error: Exception, server: str) -> StarlingsError:
    said = f"the mail server {server}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        reasons = [(who, code, _words(words)) for who, (code, words) in error.recipients.items()]
        listed = "; ".join(f"{who}: {code} {words}" for who, code, words in reasons)
        return _by_code(max(code for _, code, _ in reasons), f"{said} refused {listed}")
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return StepFailed(
            f"{said} does not know us ({error.smtp_code} {_words(error.smtp_error)}); check "
            "STARLINGS_NOTIFY_SMTP_USER and …_PASSWORD",
            code="smtp_unauthorized",
        )
    if isinstance(error, smtplib.SMTPResponseException) and not isinstance(
        error, smtplib.SMTPConnectError
    ):
        words = f"{said} refused the mail: {error.smtp_code} {_words(error.smtp_error)}"
        return _by_code(error.smtp_code, words)
    if isinstance(error, smtplib.SMTPNotSupportedError | ssl.SSLCertVerificationError):
        return StepFailed(
            f"{said} cannot be used as set: {error}; check STARLINGS_NOTIFY_SMTP_TLS and …_CA_FILE",
            code="smtp_untrusted",
        )
    return TransientError(
        f"{said} cannot be reached: {error or type(error).__name__}", code="smtp_unavailable"
    )


def _by_code(code: int, words: str) -> StarlingsError:
    if code >= _PERMANENT:
        return StepFailed(words, code="mail_refused")
    return TransientError(words, code="mail_not_taken")


def _words(said: bytes | str) -> str:
    return " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())
