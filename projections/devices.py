"""The view of devices: from snapshots, changes of status and price lists to each device as it stands now."""

from dataclasses import dataclass, field

from projections.view import View
from schemas.events import DevicePrice, DeviceSnapshotTaken, DeviceStatusChanged, PriceListPublished
from streams.state import Map, Table, changed


@dataclass(frozen=True)
class Device:
    """A device as it last described itself. Fidelities are what its latest calibration measured."""

    device: str
    snapshot: DeviceSnapshotTaken | None = None
    snapshots: int = 0
    status: str = "unknown"
    status_reason: str = ""
    status_us: int | None = None
    queue_jobs: int = 0
    queue_wait_us: int = 0


@dataclass(frozen=True)
class DevicesView:
    """All devices that spoke at a site, and the prices in force."""

    devices: Table[str, Device] = field(default_factory=Map)
    prices: Table[str, DevicePrice] = field(default_factory=Map)
    classical_second_microusd: int | None = None

    def price(self, device: str) -> DevicePrice | None:
        """What a device costs; None where no price is published, and then nothing may run there."""
        return self.prices.get(device)


def _snapshot_taken(view: DevicesView, event: DeviceSnapshotTaken, _: int) -> DevicesView:
    device = view.devices.get(event.device) or Device(event.device)
    device = changed(device, snapshot=event, snapshots=device.snapshots + 1)
    return changed(view, devices=view.devices.set(event.device, device))


def _status_changed(view: DevicesView, event: DeviceStatusChanged, time_us: int) -> DevicesView:
    device = changed(
        view.devices.get(event.device) or Device(event.device),
        status=event.status,
        status_reason=event.reason,
        status_us=time_us,
        queue_jobs=event.queue_jobs,
        queue_wait_us=event.queue_wait_us,
    )
    return changed(view, devices=view.devices.set(event.device, device))


def _prices_published(view: DevicesView, event: PriceListPublished, _: int) -> DevicesView:
    prices = Map({price.device: price for price in event.devices})
    return changed(view, prices=prices, classical_second_microusd=event.classical_second_microusd)


DEVICES = View(
    "devices",
    DevicesView(),
    DevicesView,
    {
        DeviceSnapshotTaken: _snapshot_taken,
        DeviceStatusChanged: _status_changed,
        PriceListPublished: _prices_published,
    },
)
