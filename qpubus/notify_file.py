"""The file by which people are told: TOML goes in, a plan and channels come out. Secrets stand in files of their own.

[times]
escalate_min = 30
remind_min = 60

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
delegate = "approver:grace"
away_from = 2027-01-01
away_until = 2027-01-10
"""

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.courier import Courier
from agents.mailer import MailServer
from agents.notices import Addressee, Plan
from agents.notifier import Channels
from qpubus.problem import Problem, validation_text
from schemas.words import Identifier
from streams.disk import read_small

_FILE_BYTES_MAX = 1 << 20
_SECRET_BYTES_MIN, _SECRET_BYTES_MAX = 16, 1 << 12
_MINUTE_US = 60_000_000
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_STARTTLS_PORT, _TLS_PORT = 587, 465
Minutes = Annotated[int, Field(ge=1, le=60 * 24 * 30)]
Address = Annotated[str, Field(max_length=254, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Times(_Table):
    escalate_min: Minutes = 30
    remind_min: Minutes = 60


class _Webhook(_Table):
    allow: tuple[str, ...] = ()


class _Smtp(_Table):
    host: str
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    sender: Address
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None


class _Person(_Table):
    name: Identifier
    email: Address | None = None
    webhook: str = ""
    secret_file: Path | None = None
    delegate: Identifier | None = None
    away_from: datetime | date | None = None
    away_until: datetime | date | None = None


class _File(_Table):
    times: _Times = _Times()
    webhook: _Webhook = _Webhook()
    smtp: _Smtp | None = None
    alarms: tuple[Identifier, ...] = ()
    person: tuple[_Person, ...] = Field(min_length=1)


class Notifying(NamedTuple):
    """Whom to tell, and by what."""

    plan: Plan
    allowed_hosts: tuple[str, ...]
    mail: MailServer | None

    def channels(self) -> Channels:
        """What notices go out by."""
        courier = Courier(self.allowed_hosts, takes_plain_local=True) if self.allowed_hosts else None
        return Channels(courier, self.mail)


def read_notify_file(file: Path) -> Notifying:
    """Whom to tell and how; `Problem` says what is wrong where."""
    try:
        said = _File.model_validate(tomllib.loads(read_small(file, _FILE_BYTES_MAX).decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Problem(f"{file} is not TOML: {error}") from None
    except ValidationError as error:
        raise Problem(f"{file}: {validation_text(error)}", "docs/people.md has one.", code="malformed") from None
    names = [each.name for each in said.person]
    for name in {each.delegate for each in said.person if each.delegate} | set(said.alarms):
        if name not in names:
            raise Problem(f"{file}: {name} is named, but is no [[person]]", "Add one of that name.", code="malformed")
    people = tuple(_addressee(file, each) for each in said.person)
    courier = Courier(said.webhook.allow, takes_plain_local=True)
    for each in people:
        if each.webhook and (why := courier.why_not(each.webhook)):
            raise Problem(f"{file}: {each.name}: {why}", "List its host in [webhook] allow.", code="malformed")
        if each.email and said.smtp is None:
            raise Problem(f"{file}: {each.name} has an e-mail address", "Say in [smtp] who takes mail.")
    plan = Plan(people, said.times.escalate_min * _MINUTE_US, said.times.remind_min * _MINUTE_US, said.alarms)
    return Notifying(plan, said.webhook.allow, _server(file, said.smtp) if said.smtp else None)


def _addressee(file: Path, said: _Person) -> Addressee:
    if said.webhook and said.secret_file is None:
        raise Problem(
            f"{file}: {said.name} has a webhook, but no secret_file", "Its notices are signed by that secret."
        )
    if not (said.webhook or said.email):
        raise Problem(f"{file}: {said.name} can be reached by nothing", "Give an email or a webhook.")
    return Addressee(
        name=said.name,
        email=said.email or "",
        webhook=said.webhook,
        secret=_secret(file, said.secret_file) if said.secret_file else b"",
        delegate=said.delegate or "",
        away_from_us=_us(said.away_from),
        away_until_us=_us(said.away_until),
    )


def _server(file: Path, said: _Smtp) -> MailServer:
    if said.tls == "none" and said.host not in _LOCAL:
        raise Problem(f"{file}: mail to {said.host} must go over TLS", "Say starttls or tls.")
    port = said.port or {"starttls": _STARTTLS_PORT, "tls": _TLS_PORT, "none": 25}[said.tls]
    password = _secret(file, said.password_file, 1).decode() if said.password_file else ""
    return MailServer(said.host, port, said.sender, said.tls, said.user, password)


def _secret(file: Path, named: Path, bytes_min: int = _SECRET_BYTES_MIN) -> bytes:
    """A secret in a file beside the one that names it, which nobody else may read."""
    path = file.parent / named
    if path.stat().st_mode & 0o077:
        raise Problem(f"{path} can be read by others", f"Run: chmod 600 {path}")
    secret = read_small(path, _SECRET_BYTES_MAX).strip()
    if len(secret) < bytes_min:
        raise Problem(f"{path} holds fewer than {bytes_min} bytes", "Make one: openssl rand -hex 32")
    return secret


def _us(moment: datetime | date | None) -> int:
    if moment is None:
        return 0
    whole = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return int((whole if whole.tzinfo else whole.replace(tzinfo=UTC)).timestamp() * 1_000_000)
