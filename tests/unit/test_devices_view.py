from projections.devices import DEVICES
from schemas.events import DevicePrice, DeviceSnapshotTaken, DeviceStatusChanged, PriceListPublished
from tests.support.telling import told


def snapshot(firmware: str, device: str = "trap") -> DeviceSnapshotTaken:
    return DeviceSnapshotTaken(
        device=device,
        snapshot_digest="a" * 64,
        taken_us=1,
        topology="ion-trap",
        qubits=4,
        two_qubit_fidelity=0.99,
        two_qubit_fidelity_error=0.001,
        readout_fidelity=0.99,
        shots_max=1_000,
        firmware=firmware,
        compiler="1",
    )


def price(device: str) -> DevicePrice:
    return DevicePrice(
        device=device, task_microusd=1, shot_microusd=2, hour_microusd=3, shot_duration_us=4, shots_max=5
    )


ONLINE = DeviceStatusChanged(device="trap", status="online", queue_jobs=2, queue_wait_us=9)


def test_the_latest_snapshot_counts() -> None:
    device = told(DEVICES, snapshot("1"), snapshot("2")).devices["trap"]
    assert device.snapshot is not None
    assert (device.snapshot.firmware, device.snapshots) == ("2", 2)


def test_a_device_without_word_of_its_status_is_unknown() -> None:
    assert told(DEVICES, snapshot("1")).devices["trap"].status == "unknown"


def test_status_and_queue_are_the_latest() -> None:
    draining = DeviceStatusChanged(device="trap", status="draining", queue_jobs=1, queue_wait_us=4, reason="service")
    device = told(DEVICES, (ONLINE, 5), (draining, 7)).devices["trap"]
    assert (device.status, device.status_reason, device.queue_jobs, device.queue_wait_us, device.status_us) == (
        "draining",
        "service",
        1,
        4,
        7,
    )


def test_a_price_list_replaces_the_one_before_whole() -> None:
    lists = [
        PriceListPublished(devices=(price("trap"), price("chip")), classical_second_microusd=1),
        PriceListPublished(devices=(price("chip"),), classical_second_microusd=20),
    ]
    view = told(DEVICES, *lists)
    assert (view.price("trap"), view.price("chip"), view.classical_second_microusd) == (None, price("chip"), 20)
