"""What people say of their own accord, from the command line: words and a key file go in, a signed event is on the log.

Nothing is asked before signing: what is signed stands on the command line, and a halt must not wait.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from agents.approver import Signer
from agents.petitions import subject_of
from qpubus.answering import kept_reason
from qpubus.door_client import ask
from qpubus.governing import Register, open_register
from qpubus.problem import Problem
from qpubus.reading import Desk
from qpubus.requests import Petitioned
from qpubus.signing import signer_of
from schemas.events import HaltOrdered, HumanProof
from schemas.people import signed_words
from schemas.petitions import Petition
from streams.policy import POLICY
from streams.policy.state import PolicyState
from streams.reader import Reader
from streams.stage import Heard

UNKEPT = "(its reason could not be kept)"
"""What stands on the log for the reason of a halt where the vault fails: a brake must not wait for a disk."""
UNSIGNED = HumanProof(proof_type="ed25519", key_id="", signature=b"")
_DOLLAR_MICROUSD = 1_000_000
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Petitioner:
    """A person at a site, with what they sign with."""

    data: Path
    register: Register
    source: str
    signer: Signer

    @property
    def site(self) -> str:
        """The site that they speak at."""
        return self.register.site

    def say(self, kind: type[Petition], **words: Any) -> dict[str, Any]:
        """Sign an event of theirs and have the running bus say it: its subject, digest and time.

        A reason is kept in the vault, where it can be erased, and what is signed is a pointer to it.
        """
        unsigned = kind.model_validate(words | {"person": self.source, "proof": UNSIGNED})
        if reason := words.get("reason"):
            unsigned = unsigned.model_copy(update={"reason": self._kept(unsigned, reason)})
        return self.hand_in(unsigned.model_copy(update={"proof": self.signer.sign(signed_words(unsigned, self.site))}))

    def _kept(self, unsigned: Petition, reason: str) -> str:
        try:
            return kept_reason(self.data, subject_of(unsigned), self.signer.key_id, reason)
        except Problem as problem:
            if isinstance(unsigned, HaltOrdered) and problem.code == "vault_failed":
                return UNKEPT
            raise

    def hand_in(self, petition: Petition) -> dict[str, Any]:
        """Have the running bus say what was signed."""
        return ask(self.data, "petition", Petitioned.of(petition))


def petitioner(data: Path, key: Path) -> Petitioner:
    """The person whose key file is named; `Problem` if it is enrolled for nobody."""
    signer = signer_of(key)
    register = asyncio.run(open_register(data))
    entry = register.entries.get(signer.key_id)
    if entry is None:
        raise Problem(
            f"the key in {key} ({signer.key_id}) is not enrolled at {register.site}",
            "Ask an admin: qpubus keys enrol",
            code="key_unknown",
        )
    return Petitioner(data, register, entry.enrolled.source, signer)


async def standing(desk: Desk) -> PolicyState:
    """What policy knows by now: mandates, autonomy, budgets and halts among it."""
    reader = Reader(desk.log, desk.partition, POLICY.inputs, {desk.site: desk.root_public_key})
    state = POLICY.initial
    while items := await reader.read():
        for item in items:
            if isinstance(item, Heard):
                state = POLICY.evolve(state, item)
    return state


def new_id(kind: str) -> str:
    """A name that nobody has used."""
    return f"{kind}-{secrets.token_hex(4)}"


def nonce() -> str:
    """A number that makes a statement one of its own."""
    return secrets.token_hex(32)


def microusd(dollars: str, what: str) -> int:
    """An amount in dollars, as it is typed, in micro-dollars."""
    try:
        amount = Decimal(dollars) * _DOLLAR_MICROUSD
    except InvalidOperation:
        amount = Decimal(-1)
    if not 0 <= amount < 1 << 62 or amount != int(amount):
        raise Problem(f"{what} is no amount in dollars: {dollars[:40]!r}", "Give one as 250 or 0.25.")
    return int(amount)


def span_us(text: str, what: str) -> int:
    """A length of time, as it is typed: 90m, 8h, 30d, 2w."""
    matched = _SPAN.match(text)
    if not matched:
        raise Problem(f"{what} is no length of time: {text[:40]!r}", "Give one as 90m, 8h, 30d or 2w.")
    return timedelta(**{_UNITS[matched[2]]: int(matched[1])}) // timedelta(microseconds=1)


def time_us(text: str, now_us: int, what: str) -> int:
    """A time, as it is typed: in ISO 8601, UTC unless it says otherwise, or how long from now."""
    if _SPAN.match(text):
        return now_us + span_us(text, what)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(
            f"{what} is no time: {text[:40]!r}", "Give one as 2027-03-31, 2027-03-31T18:00Z or 30d."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
