"""The Python client: what an agent asks of a bus over HTTP, with and without `await`."""

from qpubus.client.clients import AsyncClient, Client
from qpubus.client.told import Failed, Job, Receipt

__all__ = ["AsyncClient", "Client", "Failed", "Job", "Receipt"]
