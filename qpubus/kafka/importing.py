"""The importer: a user that may write every topic, for as long as an import takes."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qpubus.kafka.access import Access
from qpubus.kafka.acls import IMPORTER, import_acls, settled
from qpubus.kafka.cluster import allow, connected, disallow, set_users


@asynccontextmanager
async def importer(operator: Access) -> AsyncIterator[Access]:
    """The importer's access, for the time of a `with`. Its password is nowhere but in memory.

    Afterwards nobody knows the password and the user may do nothing. It is not deleted: where a SCRAM user was deleted,
    Kafka 4.1.1 lets nobody in after its next start. What an import that was killed leaves allowed is taken back by
    `kafka start` and `kafka acls --apply`.
    """
    access = Access(operator.bootstrap, IMPORTER, secrets.token_urlsafe(32), operator.ca)
    granted = import_acls()
    async with connected(operator) as client:
        await set_users(client, {IMPORTER: access.password})
        try:
            await allow(client, sorted(granted))
            await settled(client, lambda now: now >= granted)
            yield access
        finally:
            await disallow(client, sorted(granted))  # connections end with their clients, what they may do ends here
            await set_users(client, {IMPORTER: secrets.token_urlsafe(32)})  # which nobody knows
            await settled(client, lambda now: not any(acl.principal == IMPORTER for acl in now))
