"""Who asks: what has authenticated a caller, and what follows for what it may do and see."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from qpubus.refusal import Refusal
from schemas.topics import Role

Assurance = Literal["agent-held", "gateway-held"]


class Scope(StrEnum):
    """What an access token can be given for."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    SITE_READ = "site:read"
    EVENTS_READ = "events:read"
    APPROVALS_ANSWER = "approvals:answer"


_READING = frozenset({Scope.JOBS_READ, Scope.SITE_READ, Scope.EVENTS_READ})
SCOPES_OF_ROLE: dict[str, frozenset[Scope]] = {
    Role.AGENT: _READING | {Scope.JOBS_WRITE},
    Role.APPROVER: _READING | {Scope.APPROVALS_ANSWER},
    Role.AUDITOR: _READING,
}
"""Who can get an access token, and the most it can be given for. No agent can ever answer an approval."""


LOCAL = "local"
"""The role of who asks through the socket in the data directory."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has authenticated. `key_id` is the enrolled key by which they did, empty where an issuer vouches.

    `sees_site`: reads the jobs of everybody at its site, not only its own. `assurance`: who holds the key that signs
    what it declares, if it brings no proof of its own.
    """

    site: str
    source: str
    role: str
    scopes: frozenset[str]
    key_id: str = ""
    sees_site: bool = False
    assurance: Assurance = "agent-held"

    def need(self, scope: Scope) -> None:
        """`Refusal` unless this caller was given a scope."""
        if scope not in self.scopes:
            raise Refusal("scope_missing", f"this needs the scope {scope.value}: ask for a token with it")

    def owns(self, source: str) -> bool:
        """Whether what is `source`'s may be shown to this caller."""
        return self.sees_site or source == self.source


def local_caller(site: str) -> Caller:
    """Who asks through the socket in the data directory: whoever can open it runs the bus."""
    return Caller(site, LOCAL, LOCAL, frozenset(Scope), sees_site=True)
