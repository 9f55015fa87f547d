"""`qpubus worker views` as a process on a real broker: what it keeps is what a clean replay makes."""

import asyncio
from pathlib import Path

from qpubus.kafka.broker import Broker
from qpubus.kafka.setup import set_up
from qpubus.ledger import Cluster
from tests.kafka.ledgers import renew
from tests.support.commands import qpubus
from tests.support.kafka_site import KafkaSite
from tests.support.worker_processes import Workforce

JOBS = 150
STAGES = ("policy", "scheduler")


async def test_views_that_were_stopped_and_killed_equal_those_of_a_clean_rebuild(
    own_broker: Broker, tmp_path: Path
) -> None:
    await renew(own_broker, 1)
    await set_up(own_broker, 1)
    site = await KafkaSite.found(own_broker, "viewed", tmp_path / "site")
    with Workforce(tmp_path / "work", own_broker.directory / "access", [site.directory]) as workforce:
        stages = workforce.hire("stages", *STAGES)
        views = workforce.hire("views", "views")
        await site.declare(JOBS // 3, 10)
        await site.decided(JOBS // 3)
        assert await asyncio.to_thread(views.stop) == 0  # what it has is saved
        views = workforce.hire("other", "views")
        await site.declare(JOBS // 3, 10, 0.05)
        await asyncio.to_thread(views.kill_at_work)
        await site.declare(JOBS // 3, 10)
        await site.decided(JOBS)
        assert await asyncio.to_thread(views.has_said, "taken over", 2)
        assert await asyncio.to_thread(views.tells, 'qpubus_worker_lag_records{stage="views",partition="0"} 0')
        assert [await asyncio.to_thread(each.stop) for each in (views, stages)] == [0, 0]
    await site.log.close()

    cluster = Cluster(own_broker.directory / "access")
    (site.directory / "kafka.toml").write_text(cluster.text(site.declarations.site))
    (site.directory / "states").symlink_to(tmp_path / "work" / "states")
    (site.directory / "views").symlink_to(tmp_path / "work" / "states" / "views")
    rebuilt = await asyncio.to_thread(qpubus, "replay", "rebuild", "--data", site.directory, "--json")
    assert rebuilt.code == 0, rebuilt.err
    saved = {each["name"]: each["outcome"] for each in rebuilt.json if each["outcome"] != "nothing saved"}
    assert saved.keys() >= {*STAGES, "jobs", "kpis"}
    assert set(saved.values()) == {"same"}
    jobs = await asyncio.to_thread(qpubus, "jobs", "--data", site.directory, "--json")
    assert len(jobs.json) == JOBS
