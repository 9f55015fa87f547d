"""E-mail: a message goes in, it is with the mail server or it is not. In a thread, as `smtplib` waits."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. Without TLS only on this very machine."""

    host: str
    port: int
    sender: str
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)


async def send_mail(server: MailServer, to: str, subject: str, text: str, message_id: str) -> str:
    """Hand a message in; empty if the server took it, else what went wrong, without the password."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = server.sender, to, subject
    message["Message-ID"] = f"<{message_id}@{server.sender.rpartition('@')[2]}>"
    message.set_content(text)
    return await asyncio.to_thread(_send, server, message)


def _send(server: MailServer, message: EmailMessage) -> str:
    try:
        with _opened(server) as smtp:
            if server.user:
                smtp.login(server.user, server.password)
            smtp.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        return f"the mail server did not take it ({type(error).__name__})"
    return ""


def _opened(server: MailServer) -> smtplib.SMTP:
    if server.tls == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    smtp = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    if server.tls == "starttls":
        smtp.starttls(context=ssl.create_default_context())
    return smtp
