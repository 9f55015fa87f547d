"""Publishing a town's alarms, for tests."""

from replay.publishing import latest_rounds, publish
from replay.shelves import Shelf
from schemas.quorum import Policy
from tests.support.scene import SITE
from tests.support.sealing import Sealing


async def publish_alarms(town: Sealing, shelf: Shelf, segments: Shelf | None = None) -> int:
    """Seal what is there and publish the tree of alarms; how many records are new."""
    await town.sealer().finish()
    return await publish_sealed_alarms(town, shelf, segments)


async def publish_sealed_alarms(
    town: Sealing, shelf: Shelf, segments: Shelf | None = None, policy: Policy | None = None
) -> int:
    """Publish the tree of alarms of what is sealed; how many records are new."""
    latest = await latest_rounds(town.log, 0, {SITE: town.scene.root})
    assert latest
    round_ = latest.due(policy)
    assert round_
    head = next(each for each in round_.sealed.heads if each.topic == "alarms")
    return await publish(latest, round_, head, shelf, segments)
