"""What running costs: a price list and what was used go in, integer micro-dollars come out, fractions rounded up."""

from schemas.events import DevicePrice, PriceListPublished

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000


def charge_microusd(price: DevicePrice, tasks: int, shots: int, device_time_us: int, slot_us: int = 0) -> int:
    """The price of tasks (a chunk of shots is one), shots, device time, and the length of the slot that was held."""
    by_time = (
        (price.hour_microusd, device_time_us, HOUR_US),
        (price.second_microusd, device_time_us, SECOND_US),
        (price.slot_hour_microusd, slot_us, HOUR_US),
    )
    time_microusd = sum(-(-each * time_us // unit_us) for each, time_us, unit_us in by_time)
    return price.task_microusd * tasks + price.shot_microusd * shots + time_microusd


def classical_microusd(second_microusd: int, classical_time_us: int) -> int:
    """The price of time in the sandbox."""
    return -(-second_microusd * classical_time_us // SECOND_US)


def run_microusd(price: DevicePrice, circuits: int, shots: int) -> int:
    """The least that so many circuits with so many shots in all can cost: one task each, no shot slower than stated."""
    return charge_microusd(price, circuits, shots, shots * price.shot_duration_us)


def price_of(prices: PriceListPublished | None, device: str) -> DevicePrice | None:
    """The price of a device; none if the list does not name it, or names it twice: an unclear price is no price."""
    listed = [price for price in prices.devices if price.device == device] if prices else []
    return listed[0] if len(listed) == 1 else None
