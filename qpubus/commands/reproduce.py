"""A finished job run again from what is stored of it: `audit reproduce`."""

import asyncio
from importlib import import_module
from secrets import randbits
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpubus import show
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json, Root, trusted_root
from qpubus.place import Place
from qpubus.problem import EXIT_REFUSED, Problem
from qpubus.reading import unknown_job
from replay.stored import JobUnknown, JobUnreproducible

if TYPE_CHECKING:
    from replay.reproduce import Reproduction

SEED_BITS = 62
_CIRCUITS_SHOWN = 5

Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=(1 << SEED_BITS) - 1, help="The seed of the new run; any if none."),
]


def reproduce(
    job_id: JobId, *, seed: Seed = None, data: Data = DEFAULT_DATA, root: Root = None, json: Json = False
) -> None:
    """Run a job's circuits again on the noise that its calibration measured, and say how near the counts come.

    Where the devices' own ledgers are at hand, the very run is repeated too: the same seeds on the same noise must give
    the same counts. Nothing is written. Exit 1 if the verdict is divergent or failed, or the same run gives others.
    """
    fresh_seed = randbits(SEED_BITS) if seed is None else seed
    try:
        found = asyncio.run(import_module("qpubus.rerun").rerun(job_id, Place(data), fresh_seed, trusted_root(root)))
    except JobUnknown:
        raise unknown_job(job_id, data) from None
    except JobUnreproducible as error:
        raise Problem(f"{job_id} cannot be run again: {error}", code="job_unreproducible") from None
    if json:
        show.json(document(job_id, found))
    else:
        _show(job_id, found)
    if found.verdict in {"divergent", "failed"} or found.exact is False:
        raise typer.Exit(EXIT_REFUSED)


def document(job_id: str, found: "Reproduction") -> dict[str, Any]:
    """What was found, as JSON."""
    return {
        "job_id": job_id,
        "seed": found.seed,
        "verdict": found.verdict,
        "index": found.index._asdict(),
        "p_value": found.p_value,
        "shift_max": found.shift_max,
        "shifts": dict(found.shifts),
        "exact": found.exact,
        "circuits": [
            {"step": each.step, "place": each.place, "shots": each.shots, "p_value": each.p_value}
            for each in found.circuits
        ],
    }


def _show(job_id: str, found: "Reproduction") -> None:
    exact = {None: "not known: a ledger of the devices is not at hand", True: "yes", False: "NO: the counts differ"}
    index, worst = found.index, sorted(found.circuits, key=lambda each: each.p_value)
    show.facts(
        [
            ("job", job_id),
            ("verdict", found.verdict),
            ("index", f"{index.value:.4f} ({index.low:.4f} to {index.high:.4f} with 95 %)"),
            ("least p-value", f"{found.p_value:.3g}, of {len(worst)} circuits, corrected for their number"),
            *((f"shift of {name}", f"{shift:.2f} standard errors") for name, shift in sorted(found.shifts.items())),
            ("the same run", exact[found.exact]),
            ("seed", str(found.seed)),
        ]
    )
    for each in worst[:_CIRCUITS_SHOWN]:
        show.say(f"  step {each.step} circuit {each.place}: {each.shots:,} shots, p-value {each.p_value:.3g}")
