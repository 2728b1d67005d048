"""A real SMTP server on loopback that keeps what it takes, and refuses as told."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class MailServer:
    """What it took; answers by recipient, and to the mail itself, that are no 250."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    to_recipients: dict[str, str] = field(default_factory=dict)
    to_mail: str = "250 taken"
    password: str = ""

    async def handle_RCPT(  # noqa: N802 - as the server looks for it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.to_recipients:
            return self.to_recipients[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - as above
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.to_mail.startswith("250"):
            mail = email.message_from_bytes(envelope.content or b"", policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.encrypted.append(session.ssl is not None)
        return self.to_mail

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == self.password, handled=False)


@asynccontextmanager
async def mail_server(
    *, context: ssl.SSLContext | None = None, password: str = ""
) -> AsyncGenerator[MailServer]:
    """Run a mail server in this loop; a context makes it want STARTTLS, a password a login."""
    mail = MailServer(password=password)

    def session() -> SMTP:
        return SMTP(
            mail,
            hostname="mail.example",
            tls_context=context,
            require_starttls=context is not None,
            authenticator=mail.authenticate,
            auth_required=bool(password),
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
