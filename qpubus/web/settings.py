"""What can be set for the HTTP door: the table `[gateway]` of a TOML file goes in, checked settings come out."""

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qpubus.problem import Problem, validation_text
from qpubus.web.workload import WORKING_MAX
from schemas.words import Identifier

ALGORITHMS = ("Ed25519", "EdDSA", "ES256", "PS256", "RS256")
"""What an outside issuer may sign with; no shared secrets, no `none`."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OutsideIssuer(_Table):
    """An OpenID Connect provider whose access tokens are taken, and which of its subjects is which enrolled agent."""

    issuer: str = Field(description="as it stands in `iss`, byte for byte")
    audience: str = Field(description="what must stand in `aud`")
    jwks_uri: str
    claim: str = Field(default="sub", description="the claim that says who it is")
    agents: dict[str, Identifier] = Field(description="value of that claim → enrolled agent")
    algorithms: tuple[str, ...] = ALGORITHMS
    lifetime_s_max: int = Field(default=300, ge=1, le=3_600, description="tokens that hold longer are refused")

    @field_validator("jwks_uri")
    @classmethod
    def _is_safe(cls, uri: str) -> str:
        if not _is_safe(uri):
            raise ValueError("keys are fetched by https, or from this machine")
        return uri

    @field_validator("algorithms")
    @classmethod
    def _are_known(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        if not algorithms or set(algorithms) - set(ALGORITHMS):
            raise ValueError(f"choose among {', '.join(ALGORITHMS)}")
        return algorithms


class Settings(_Table):
    """The HTTP door. Every limit has a default that suits one site on one machine."""

    public_url: str = Field(default="", description="where clients reach it, behind a proxy; else its own address")
    issuers: tuple[OutsideIssuer, ...] = ()
    rate_per_s: Annotated[float, Field(gt=0)] = Field(default=100.0, description="requests of one agent, on average")
    burst: int = Field(default=200, ge=1, description="requests of one agent at once")
    working_max: int = Field(default=WORKING_MAX, ge=1, description="requests at a time; more are turned away")
    connections_max: int = Field(default=2_048, ge=1)

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        if url and not _is_safe(url):
            raise ValueError("access tokens travel on it: give an https URL, or one of this machine")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _are_apart(self) -> "Settings":
        names = [each.issuer for each in self.issuers]
        if len(set(names)) != len(names):
            raise ValueError("an issuer is named twice")
        return self


def read_settings(path: Path | None) -> Settings:
    """The settings in a file, or the defaults where none is named; `Problem` says what is wrong with it."""
    if path is None:
        return Settings()
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text()).get("gateway", {})
        return Settings.model_validate(table)
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{path}: {error}", "See https://toml.io for the form.") from None
    except ValidationError as error:
        raise Problem(f"{path}: [gateway] {validation_text(error)}", "docs/gateway.md names every setting.") from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return (parts.scheme == "https" and bool(host)) or (parts.scheme == "http" and is_loopback(host))
