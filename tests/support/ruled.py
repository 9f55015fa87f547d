"""A town under rules in Cedar: its devices are calibrated, and its policy is one of the sets that come with us."""

from typing import Any

from qpubus.policy_set import built_in
from schemas.events import DeviceSnapshotTaken, IntentAdmitted, IntentRefused, PolicyPublished
from schemas.manifest import Manifest
from schemas.topics import Role
from streams.policy import POLICY
from streams.stage import Heard
from tests.support.jobs import USD, Town, prices
from tests.support.world import World

TRAP, GARNET, HERON = "onprem-iontrap-1", "cloud-garnet-1", "cloud-heron-1"


def ruled_town(name: str = "first-poc", rules: str = "", **changes: Any) -> Town:
    """A founded site where policy works alone, by the set of this name, or by these rules in its place."""
    published = built_in(name).event().model_copy(update=changes | ({"rules": rules} if rules else {}))
    place = Town(World(stages=(POLICY,))).found(published, 10**6 * USD, prices(*published.devices))
    for device in published.devices:
        calibrate(place, device)
    place.world.settle()
    return place


def calibrate(place: Town, device: str, digest: str = "ab" * 32, **changes: Any) -> Heard:
    """Let a device tell a calibration of now."""
    fields: dict[str, Any] = {
        "device": device,
        "snapshot_digest": digest,
        "taken_us": place.world.now_us,
        "topology": "ion-trap",
        "qubits": 12,
        "two_qubit_fidelity": 0.99,
        "two_qubit_fidelity_error": 0.001,
        "readout_fidelity": 0.99,
        "shots_max": 20_000,
        "firmware": "1.0",
        "compiler": "c-1",
    }
    return place.world.say(Role.DEVICE, f"device:{device}", DeviceSnapshotTaken(**fields | changes))


def verdict(place: Town, wanted: Manifest) -> Any:
    """Declare a job; the event that tells what became of it."""
    place.declare(wanted)
    place.world.settle()
    told = [
        h.event
        for h in place.world.log
        if getattr(h.event, "job_id", "") == wanted.job_id and h.source == POLICY.source
    ]
    return next(
        each for each in told if type(each).__name__ in {"IntentAdmitted", "IntentRefused", "ApprovalRequested"}
    )


def admitted(place: Town, wanted: Manifest) -> IntentAdmitted:
    """Declare a job that is admitted."""
    said = verdict(place, wanted)
    assert isinstance(said, IntentAdmitted), said
    return said


def refused(place: Town, wanted: Manifest) -> IntentRefused:
    """Declare a job that is refused."""
    said = verdict(place, wanted)
    assert isinstance(said, IntentRefused), said
    return said


def with_rules(*rules: str) -> PolicyPublished:
    """The first policy with these rules alone."""
    return built_in("first-poc").event().model_copy(update={"rules": "\n".join(rules)})
