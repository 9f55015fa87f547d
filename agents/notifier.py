"""The notifier: hears the log and tells people, by webhook and e-mail, what waits for them and what went wrong.

It says nothing on the log and holds no key of the site's. What was told stands in a file of its own, so nobody is told
twice after a restart; what was sent in the moment of a crash is sent again under the same id.
"""

import asyncio
import hmac
import os
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from agents.courier import Courier
from agents.mailer import MailServer, send_mail
from agents.notices import TOPICS, Addressee, Board, Notice, Plan
from agents.party import Clock
from streams.disk import sync_directory
from streams.log.port import ReadableLog
from streams.reader import Reader
from streams.stage import Heard

SIGNATURE_HEADER, ID_HEADER = "Qpubus-Signature", "Qpubus-Notice-Id"
ATTEMPTS_MAX = 10
_FIRST_WAIT_US, _WAIT_US_MAX = 1_000_000, 300_000_000


class Channels(NamedTuple):
    """By what people are reached."""

    courier: Courier | None
    mail: MailServer | None


class Told:
    """What was told or given up, by id, in a file to which a line is added durably; its first line is its beginning."""

    def __init__(self, file: Path, now_us: int) -> None:
        self._file = file
        if not file.exists():
            self._append(f"{now_us}\n")
            sync_directory(file.parent)
        whole, _, _ = file.read_text().rpartition("\n")
        first, *ids = whole.split("\n")
        self.began_us = int(first) if first.isdecimal() else now_us
        self.ids = set(ids)

    def add(self, name: str) -> None:
        """Note that something was told."""
        self._append(f"{name}\n")
        self.ids.add(name)

    def _append(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def notifiers_reader(log: ReadableLog, partition: int, site: str, root_public_key: bytes) -> Reader:
    """What a notifier reads of a site."""
    return Reader(log, partition, TOPICS, {site: root_public_key}, heeds_causes=False)


class Notifier:
    """A part of the bus that tells people."""

    name = "notifier"

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        plan: Plan,
        channels: Channels,
        *,
        file: Path,
        said: Callable[[str], None],
        reasons: Callable[[str], str] = str,
    ) -> None:
        """What was told stands in `file`; `said` is told in a line, without secrets, what could not be delivered.

        `reasons` puts a person's words in the place of a pointer to them, as `Vault.told` does.
        """
        self._reader = reader
        self._clock = clock
        self._plan = plan
        self._channels = channels
        self._told = Told(file, clock.now_us())
        self._said = said
        self._board = Board(plan, self._told.began_us, reasons)
        self._tries: dict[str, tuple[int, int]] = {}
        """By delivery, how often it was tried and when it may be again."""
        self._next_us: int | None = None

    async def step(self) -> bool:
        """Hear what is new, and tell what is due; True if there was anything."""
        heard = False
        while items := await self._reader.read():
            heard = True
            for item in items:
                if isinstance(item, Heard):
                    self._board.hear(item)
        return await self._tell() or heard

    def next_due_us(self) -> int | None:
        """When something becomes due, or is tried again."""
        return self._next_us

    async def _tell(self) -> bool:
        now_us = self._clock.now_us()
        due, later = [], []
        for notice, delivery, person in self._deliveries(now_us):
            at_us = max(notice.due_us, self._tries.get(delivery, (0, 0))[1])
            if at_us <= now_us:
                due.append((notice, delivery, person))
            else:
                later.append(at_us)
        await asyncio.gather(*(self._deliver(*each) for each in due))
        again = [at_us for _, at_us in self._tries.values()]
        self._next_us = min([*later, *again], default=None)
        if due:
            awaited = {notice.notice_id for notice, _, _ in self._deliveries(now_us)}
            self._board.forget(awaited, now_us)
        return bool(due)

    def _deliveries(self, now_us: int) -> Iterable[tuple[Notice, str, Addressee]]:
        """What is still to be delivered: each notice by each channel that its person has."""
        people = {each.name: each for each in self._plan.people}
        for notice in self._board.notices(now_us):
            person = people[notice.to]
            for channel, address in (("webhook", person.webhook), ("email", person.email)):
                delivery = f"{notice.notice_id}:{channel}"
                if address and delivery not in self._told.ids:
                    yield notice, delivery, person

    async def _deliver(self, notice: Notice, delivery: str, person: Addressee) -> None:
        is_mail = delivery.endswith(":email")
        problem, is_lasting = await (self._mail(notice, person) if is_mail else self._post(notice, person))
        tried = self._tries.pop(delivery, (0, 0))[0] + 1
        if not problem:
            self._told.add(delivery)
        elif is_lasting or tried >= ATTEMPTS_MAX:
            self._said(f"{person.name} could not be told of {notice.kind} {notice.notice_id[:12]}: {problem}")
            self._told.add(delivery)
        else:
            wait_us = min(_FIRST_WAIT_US << (tried - 1), _WAIT_US_MAX)
            self._tries[delivery] = (tried, self._clock.now_us() + wait_us)

    async def _mail(self, notice: Notice, person: Addressee) -> tuple[str, bool]:
        if self._channels.mail is None:
            return "there is no mail server", True
        problem = await send_mail(
            self._channels.mail, person.email, notice.subject, notice.text, f"{notice.notice_id}.{person.name}"
        )
        return problem, False

    async def _post(self, notice: Notice, person: Addressee) -> tuple[str, bool]:
        if self._channels.courier is None:
            return "no webhook is allowed", True
        body = orjson.dumps(
            {
                "id": notice.notice_id,
                "kind": notice.kind,
                "to": notice.to,
                "job_id": notice.job_id or None,
                "subject": notice.subject,
                "text": notice.text,
            }
        )
        headers = {
            "Content-Type": "application/json",
            ID_HEADER: notice.notice_id,
            SIGNATURE_HEADER: signature_of(body, person.secret, self._clock.now_us() // 1_000_000),
        }
        sent = await self._channels.courier.post(person.webhook, body, headers)
        return ("" if sent.is_delivered else sent.message), sent.is_lasting


def signature_of(body: bytes, secret: bytes, now_s: int) -> str:
    """What stands in the signature header: a Unix time and HMAC-SHA256 over it, a dot and the body."""
    return f"t={now_s},v1={hmac.new(secret, b'%d.' % now_s + body, sha256).hexdigest()}"
