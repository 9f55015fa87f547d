"""Looking on: `events`, `devices`, `kpis`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from projections.devices import DEVICES
from projections.kpis import KPIS
from projections.scorecard import scorecard
from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, Json
from qpubus.documents import device_document, event_document, refused_document
from qpubus.events_text import job_of, summary
from qpubus.reading import open_desk, unknown_job
from qpubus.show import usd
from qpubus.tables import table
from schemas.events import DevicePrice
from schemas.words import NAMESPACE, Event
from streams.reader import Item
from streams.stage import Heard


def events(
    data: Data = DEFAULT_DATA,
    json: Json = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")] = False,
    job: Annotated[str, typer.Option("--job", metavar="ID", help="Only events about this job.")] = "",
    type_: Annotated[str, typer.Option("--type", metavar="T", help="Only events of this type: ShotsMeasured.")] = "",
) -> None:
    """Show the verified events of the log in the order of their signed times; records that were refused are marked.

    With --json, one object a line.
    """
    wanted = type_.removeprefix(f"{NAMESPACE}.")
    if wanted and f"{NAMESPACE}.{wanted}" not in Event.types:
        known = ", ".join(sorted(name.removeprefix(f"{NAMESPACE}.") for name in Event.types))
        raise typer.BadParameter(f"there is no event type {wanted}; there are: {known}", param_hint="--type")
    asyncio.run(_events(data, follow, job, wanted, json))


async def _events(data: Path, follow: bool, job: str, type_: str, json: bool) -> None:

    any_shown = False
    async with open_desk(data) as desk:
        batch: list[Item] = []
        async for items in desk.events():
            batch += items
            if items:
                continue
            shown = sorted((each for each in batch if _is_wanted(each, job, type_)), key=_time_us)
            batch = []
            for each in shown:
                _show_event(each, json)
                any_shown = True
            if not follow:
                if job and not any_shown and not type_:
                    raise unknown_job(job, data)
                return


def _is_wanted(item: Item, job: str, type_: str) -> bool:

    if not isinstance(item, Heard):
        return not job and not type_
    return (not type_ or type(item.event).__name__ == type_) and (not job or job_of(item.event) == job)


def _time_us(item: Item) -> int:

    return item.time_us if isinstance(item, Heard) else item.stored.append_time_us


def _show_event(item: Item, json: bool) -> None:

    if json:
        show.json(event_document(item) if isinstance(item, Heard) else refused_document(item))
    elif isinstance(item, Heard):
        event = item.event
        show.say(
            f"{show.utc(item.time_us)}  {type(event).__name__:<21} {item.source:<24} "
            f"{' '.join(filter(None, (job_of(event), summary(event))))}".rstrip()
        )
    else:
        place = f"{item.stored.topic}/{item.stored.partition}/{item.stored.offset}"
        show.say(f"{show.utc(item.stored.append_time_us)}  refused at {place}: {item.reason}: {item.detail}")


def devices(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show the devices: what their latest calibration measured, their queue and their price."""
    asyncio.run(_devices(data, json))


async def _devices(data: Path, json: bool) -> None:

    async with open_desk(data) as desk:
        view = (await desk.views())[DEVICES]
    found = [device for _, device in sorted(view.devices.items())]
    if json:
        show.json([device_document(view, device) for device in found])
        return
    if not found:
        show.say(f"No device has spoken yet. They do once the bus runs: qpubus up --data {data}")
        return
    rows = []
    for device in found:
        taken, price = device.snapshot, view.price(device.device)
        rows.append(
            (
                device.device,
                device.status,
                taken.topology if taken else "",
                str(taken.qubits) if taken else "",
                f"{taken.two_qubit_fidelity:.4f} ± {taken.two_qubit_fidelity_error:.4f}" if taken else "",
                f"{taken.readout_fidelity:.4f}" if taken else "",
                show.utc(taken.taken_us) if taken else "",
                f"{device.queue_jobs} ({show.duration(device.queue_wait_us)})",
                _price_text(price) if price else "none",
            )
        )
    columns = ("device", "status", "kind", "qubits", "two-qubit fidelity", "readout", "calibrated", "queue", "price")
    table(columns, rows, right=("qubits",))


def _price_text(price: DevicePrice) -> str:

    terms = (
        (price.task_microusd, "a task"),
        (price.shot_microusd, "a shot"),
        (price.hour_microusd, "an hour"),
        (price.second_microusd, "a second"),
        (price.slot_hour_microusd, "an hour of slot"),
    )
    return " + ".join(f"{usd(amount)} {unit}" for amount, unit in terms if amount) or "free"


def kpis(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show the five KPIs, reckoned from the log, each with its 95 % interval and the number of cases."""
    asyncio.run(_kpis(data, json))


async def _kpis(data: Path, json: bool) -> None:

    async with open_desk(data) as desk:
        card = scorecard((await desk.views())[KPIS])
    if json:
        show.json({name: each.full() for name, each in card.items()})
        return
    rows = [(name, *show.kpi(each.brief()), each.reason or each.method) for name, each in card.items()]
    table(("KPI", "value", "95 % interval", "n", "how"), rows, right=("value", "n"))
