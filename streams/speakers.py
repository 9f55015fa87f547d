"""Who may speak of what: a device's agent of its own device, the sandbox of programs. Others are not heard."""

from schemas.topics import Role
from streams.stage import Heard


def speaks_for_device(heard: Heard, device: str) -> bool:
    """Whether an event comes from the agent of this device."""
    return heard.role == Role.DEVICE.value and heard.source == f"device:{device}"


def speaks_for_step(heard: Heard, kind: str, device: str) -> bool:
    """Whether an event comes from the party that runs a step of this kind."""
    return speaks_for_device(heard, device) if kind == "quantum" else heard.role == Role.SANDBOX.value
