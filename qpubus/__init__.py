"""The front doors: the command, the HTTP door, the MCP door; `Client` and `AsyncClient` for Python programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpubus.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """The clients, imported when somebody asks for them: the command starts without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qpubus import client  # noqa: PLC0415 (the point of it)

    return getattr(client, name)
