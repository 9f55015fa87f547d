"""Publishing a town's alarms, for tests."""

from replay.publishing import latest_round, publish
from replay.shelves import Shelf
from tests.support.scene import SITE
from tests.support.sealing import Sealing


async def publish_alarms(town: Sealing, shelf: Shelf, segments: Shelf | None = None) -> int:
    """Seal what is there and publish the tree of alarms; how many records are new."""
    await town.sealer().finish()
    latest = await latest_round(town.log, 0, {SITE: town.scene.root})
    assert latest
    return await publish(latest, next(each for each in latest.sealed.heads if each.topic == "alarms"), shelf, segments)
