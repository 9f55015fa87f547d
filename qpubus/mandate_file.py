"""Mandates as people write them: a TOML file and options go in, the statement to be signed comes out."""

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from qpubus.petitioning import microusd, new_id, nonce, span_us, time_us
from qpubus.problem import Problem, validation_text
from schemas.events import MandateStatement
from schemas.words import Identifier
from streams.disk import read_small

_FILE_BYTES_MAX = 1 << 16


class MandateFile(BaseModel):
    """What one agent may do without being asked for each job. Amounts are dollars, a period is as `7d`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Identifier | None = None
    agent: Identifier
    purposes: tuple[str, ...]
    devices: tuple[Identifier, ...]
    data_classes: tuple[Literal["public", "internal", "confidential", "restricted"], ...] = ("public", "internal")
    cost_per_job: str
    cost_total: str
    jobs: int = 1 << 40
    period: str = ""
    starts: str = ""
    expires: str

    @field_validator("cost_per_job", "cost_total", mode="before")
    @classmethod
    def _amount(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("starts", "expires", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        return value.isoformat() if isinstance(value, date) else value

    def statement(self, site: str, agent_key_id: str, now_us: int) -> MandateStatement:
        """The statement for one key of the agent."""
        return MandateStatement(
            site=site,
            mandate_id=self.id or new_id("mandate"),
            agent=self.agent,
            agent_key_id=agent_key_id,
            purposes=self.purposes,
            devices=self.devices,
            data_classes=self.data_classes,
            cost_per_job_microusd=microusd(self.cost_per_job, "cost_per_job"),
            cost_total_microusd=microusd(self.cost_total, "cost_total"),
            jobs_per_period=self.jobs,
            period_us=span_us(self.period, "period") if self.period else 0,
            starts_us=time_us(self.starts, now_us, "starts") if self.starts else now_us,
            expires_us=time_us(self.expires, now_us, "expires"),
            nonce=nonce(),
        )


def read_mandate(file: Path | None, options: dict[str, Any]) -> MandateFile:
    """A mandate from its file and what the command line says besides, which goes before."""
    try:
        said = tomllib.loads(read_small(file, _FILE_BYTES_MAX).decode()) if file else {}
        return MandateFile.model_validate(said | {name: value for name, value in options.items() if value})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Problem(f"{file} is not TOML: {error}") from None
    except ValidationError as error:
        where = f"{file}: " if file else ""
        raise Problem(
            f"{where}{validation_text(error)}", "See docs/people.md for a mandate.", code="malformed"
        ) from None
