"""The notifier at work: a real web server and a real mail server on loopback ports, a log in memory."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from agents.courier import Courier
from agents.mailer import MailServer
from agents.notices import Addressee, Plan
from agents.notifier import ID_HEADER, SIGNATURE_HEADER, Channels, Notifier, notifiers_reader
from agents.replies import Receipt
from qpubus.notify_file import read_notify_file
from qpubus.problem import Problem
from schemas.admission import ROOT_SOURCE
from schemas.keys import raw_public_key
from streams.policy import POLICY
from streams.worker import Site, Worker
from tests.support.bell import bell_manifest
from tests.support.smtp import Mailbox, mail_server
from tests.support.town import APPROVER, SITE, Town, new_town

SECRET = b"0123456789abcdef"
DEAR = {"budget__cost_microusd": 90_000_000}


@dataclass
class Hook:
    """A web server that keeps what it is posted; it fails with each of these statuses first."""

    failures: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append((dict(request.headers), await request.read()))
        return web.Response(status=self.failures.pop(0) if self.failures else 204)


@dataclass
class House:
    """A town in which a job waits for a person, and who is told of it."""

    town: Town
    hook: Hook
    mail: Mailbox
    directory: Path
    said: list[str] = field(default_factory=list)

    def notifier(self) -> Notifier:
        root = raw_public_key(self.town.keys[ROOT_SOURCE])
        url = f"http://localhost:{self.hook.port}/ada"
        person = Addressee(APPROVER, email="ada@lab.example", webhook=url, secret=SECRET)
        return Notifier(
            notifiers_reader(self.town.log, 0, SITE, root),
            self.town.clock,
            Plan((person,), 60_000_000, 60_000_000),
            Channels(
                Courier([f"localhost:{self.hook.port}"], takes_plain_local=True),
                MailServer("127.0.0.1", self.mail.port, "qpubus@lab.example", tls="none"),
            ),
            file=self.directory / "told.txt",
            said=self.said.append,
        )

    async def tell(self, notifier: Notifier) -> None:
        """Let it work, and time pass, until nothing is due within the hour."""
        until_us = self.town.clock.now_us() + 3_600_000_000
        while True:
            while await notifier.step():
                pass
            due_us = notifier.next_due_us()
            if due_us is None or due_us > until_us:
                break
            self.town.clock.advance_to(due_us)
        courier = notifier._channels.courier
        assert courier
        await courier.close()


def in_house(
    directory: Path, scenario: Callable[[House], Awaitable[None]], failures: tuple[int, ...] = (), refusals: int = 0
) -> None:
    async def run() -> None:
        town, hook = await new_town(directory), Hook(list(failures))
        await town.run(town.device())
        gateway = town.gateway()
        assert isinstance(await town.agent.submit(gateway, bell_manifest(**DEAR)), Receipt)
        policy = Worker(
            POLICY, town.log, 0, {SITE: Site(raw_public_key(town.keys[ROOT_SOURCE]), town.keys["stage:policy"])}
        )
        while any([await policy.step(), await gateway.step()]):
            pass
        app = web.Application()
        app.router.add_post("/ada", hook.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0)
        await site.start()
        hook.port = runner.addresses[0][1]
        async with mail_server(refusals) as mail:
            await scenario(House(town, hook, mail, directory))
        await runner.cleanup()

    asyncio.run(run())


def test_a_person_is_told_by_webhook_and_by_mail_what_waits(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await house.tell(house.notifier())
        [(_, body)], [letter] = house.hook.posts, house.mail.letters
        said = orjson.loads(body)
        assert (said["kind"], said["job_id"], said["to"]) == ("approval", "bell-1", APPROVER)
        assert (letter["To"], letter["Subject"]) == ("ada@lab.example", f"[{SITE}] bell-1 waits for you")
        assert "price at most: $90.00" in str(letter.get_payload())

    in_house(tmp_path, scenario)


def test_a_webhook_can_check_who_sent_it(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await house.tell(house.notifier())
        [(headers, body)] = house.hook.posts
        time_text, _, signature = headers[SIGNATURE_HEADER].partition(",v1=")
        signed = time_text.removeprefix("t=").encode() + b"." + body
        assert hmac.new(SECRET, signed, sha256).hexdigest() == signature
        assert headers[ID_HEADER] == orjson.loads(body)["id"]

    in_house(tmp_path, scenario)


def test_nobody_is_told_twice_after_a_restart(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await house.tell(house.notifier())
        await house.tell(house.notifier())
        assert (len(house.hook.posts), len(house.mail.letters)) == (1, 1)

    in_house(tmp_path, scenario)


def test_a_server_that_fails_for_now_is_tried_again_under_the_same_id(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await house.tell(house.notifier())
        assert len({headers[ID_HEADER] for headers, _ in house.hook.posts}) == 1
        assert (len(house.hook.posts), len(house.mail.letters)) == (3, 1)
        assert house.said == []

    in_house(tmp_path, scenario, failures=(500, 503), refusals=2)


def test_a_server_that_will_never_take_it_is_given_up_and_named_without_secrets(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        await house.tell(house.notifier())
        [line] = house.said
        assert f"{APPROVER} could not be told of approval" in line
        assert "answered with 410" in line
        assert SECRET.decode() not in line
        assert len(house.hook.posts) == 1

    in_house(tmp_path, scenario, failures=(410,))


def test_nothing_is_said_on_the_log(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        before = len(await house.town.heard())
        await house.tell(house.notifier())
        assert len(await house.town.heard()) == before

    in_house(tmp_path, scenario)


class TestTheFile:
    GOOD = """
[webhook]
allow = ["hooks.lab.example"]
[smtp]
host = "mail.lab.example"
sender = "qpubus@lab.example"
[[person]]
name = "approver:ada"
email = "ada@lab.example"
webhook = "https://hooks.lab.example/ada"
secret_file = "ada.secret"
"""

    def read(self, directory: Path, text: str, mode: int = 0o600) -> Plan:
        (directory / "ada.secret").write_bytes(SECRET)
        (directory / "ada.secret").chmod(mode)
        (directory / "notify.toml").write_text(text)
        return read_notify_file(directory / "notify.toml").plan

    def test_it_says_whom_to_tell(self, tmp_path: Path) -> None:
        [person] = self.read(tmp_path, self.GOOD).people
        assert (person.name, person.secret) == ("approver:ada", SECRET)

    def test_what_it_holds_shows_no_secret(self, tmp_path: Path) -> None:
        assert SECRET.decode() not in repr(self.read(tmp_path, self.GOOD))

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("https://hooks", "http://hooks", "not an https URL"),
            ("hooks.lab.example/ada", "evil.example/ada", "does not allow"),
            ('secret_file = "ada.secret"', "", "no secret_file"),
            ('sender = "qpubus@lab.example"', 'sender = "qpubus@lab.example"\ntls = "none"', "must go over TLS"),
            ('email = "ada@lab.example"', 'email = "ada@lab.example\\nBcc: x@y"', "email"),
            ('email = "ada@lab.example"', 'delegate = "approver:nobody"', "is no [[person]]"),
        ],
    )
    def test_a_fault_is_named(self, tmp_path: Path, old: str, new: str, told: str) -> None:
        with pytest.raises(Problem, match=told.replace("[", r"\[")):
            self.read(tmp_path, self.GOOD.replace(old, new))

    def test_a_secret_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Problem, match="can be read by others"):
            self.read(tmp_path, self.GOOD, mode=0o644)
