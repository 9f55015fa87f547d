"""The dry run: what policy and scheduler would say to a manifest, by their own rules on what the log says now.

It keeps what these rules need: policy's state by policy's own fold, snapshots and states of devices.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agents.artifacts import ArtifactError, ArtifactStore
from agents.devices.capabilities import SnapshotUnreadable
from agents.devices.offers import Circumstances, offer
from agents.devices.snapshot import Snapshot, read_snapshot
from agents.replies import DryRun
from schemas.events import DeviceSnapshotTaken, DeviceStatusChanged, PlacementOffered
from schemas.manifest import Manifest
from streams.policy.judging import judge
from streams.policy.stage import POLICY
from streams.policy.state import PolicyState
from streams.policy.wish import Admit, Ask, Refuse, Wish
from streams.pricing import price_of
from streams.scheduler.choice import HALTED, Limits, Request, choose
from streams.speakers import speaks_for_device
from streams.stage import Heard

STANDARD_ERROR_PREFIX = "target_standard_error"
"""A parameter whose name begins so states the standard error that the job's shots are planned for."""
_NO_INTENT = "0" * 64


class Standing(NamedTuple):
    """What decisions would rest on at a time: policy's state, the latest readable snapshots, the states of devices."""

    policy: PolicyState
    snapshots: Mapping[str, Snapshot]
    statuses: Mapping[str, DeviceStatusChanged]


class Rehearsal:
    """Keeps up with the log as policy does, and with what devices say of themselves."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self.policy = PolicyState()
        self._artifacts = artifacts
        self._taken: dict[str, DeviceSnapshotTaken] = {}
        self._statuses: dict[str, DeviceStatusChanged] = {}
        self._snapshots: dict[str, Snapshot] = {}

    def hear(self, heard: Heard) -> None:
        """Take in an event, whoever said it; of a device only what its own agent says."""
        if heard.cause.topic in POLICY.inputs:
            self.policy = POLICY.evolve(self.policy, heard)
        match heard.event:
            case DeviceSnapshotTaken(device=device) as taken if speaks_for_device(heard, device):
                self._taken[device] = taken
            case DeviceStatusChanged(device=device) as status if speaks_for_device(heard, device):
                self._statuses[device] = status
            case _:
                pass

    def standing(self) -> Standing:
        """How things stand now. A snapshot whose document cannot be read is no basis for anything."""
        found = {}
        for device, taken in self._taken.items():
            known = self._snapshots.get(device)
            try:
                if known is None or known.digest != taken.snapshot_digest:
                    known = read_snapshot(self._artifacts.get(taken.snapshot_digest))
            except (ArtifactError, SnapshotUnreadable):
                continue
            found[device] = known
        self._snapshots = found
        return Standing(self.policy, found, dict(self._statuses))


def dry_run(manifest: Manifest, standing: Standing, now_us: int) -> DryRun:
    """Verdict, likely placement and price of a manifest that is well formed."""
    agent = manifest.initiator
    wish = Wish.of(manifest, standing.policy.assurance_of(agent), standing.policy.key_id_of(agent))
    verdict = judge(standing.policy, wish, now_us)
    snapshots = standing.snapshots
    devices = tuple(sorted(snapshots)) if isinstance(verdict, Refuse) else verdict.devices
    offers = tuple(_offer(manifest, standing, snapshots[device]) for device in devices if device in snapshots)
    request = Request.of(manifest, devices, manifest.budget.cost_microusd)
    choice = choose(request, offers, _limits(standing), now_us)
    return DryRun(
        verdict="admit" if isinstance(verdict, Admit) else "ask" if isinstance(verdict, Ask) else "refuse",
        rule=verdict.rule,
        message="" if isinstance(verdict, Admit) else verdict.message,
        price_microusd=choice.offer.price_microusd if choice.offer else None,
        price_ceiling_microusd=manifest.budget.cost_microusd,
        placement=choice,
        offers=offers,
        standard_errors={
            name: value for name, value in manifest.parameters.items() if name.startswith(STANDARD_ERROR_PREFIX)
        },
    )


def _offer(manifest: Manifest, standing: Standing, snapshot: Snapshot) -> PlacementOffered:
    status = standing.statuses.get(snapshot.device_id)
    price = price_of(standing.policy.prices, snapshot.device_id)
    queue = (status.queue_jobs, status.queue_wait_us) if status else (0, 0)
    return offer(manifest, _NO_INTENT, snapshot, Circumstances(price, *queue))


def _limits(standing: Standing) -> Limits:
    halts = standing.policy.halts
    statuses = {
        device: HALTED if halts.covering("", device) else status.status for device, status in standing.statuses.items()
    }
    in_force = standing.policy.policy
    if in_force is None:
        return Limits(1.0, -1, statuses, {})
    return Limits(in_force.min_fidelity, in_force.max_snapshot_age_us, statuses, {})
