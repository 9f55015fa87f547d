"""A mail server that takes mail over SMTP (RFC 5321) and keeps it, on a loopback port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message


@dataclass
class Mailbox:
    """What was handed in, and how often the server is to say that it cannot."""

    port: int = 0
    refusals: int = 0
    letters: list[Message] = field(default_factory=list)


@asynccontextmanager
async def mail_server(refusals: int = 0) -> AsyncIterator[Mailbox]:
    """A mail server for as long as this is open; it refuses the first letters for now."""
    box = Mailbox(refusals=refusals)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                letter = await reader.readuntil(b"\r\n.\r\n")
                if box.refusals:
                    box.refusals -= 1
                    writer.write(b"451 later\r\n")
                else:
                    box.letters.append(message_from_bytes(letter.removesuffix(b".\r\n")))
                    writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
