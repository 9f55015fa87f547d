"""The main job, start to end: `demo`."""

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from projections.job import Job
from qpubus import show
from qpubus.approval_text import show_approval
from qpubus.bars import counted
from qpubus.commands.options import Json
from qpubus.demo import run_demo
from qpubus.events_text import job_of
from qpubus.following import Story, told_story
from qpubus.founding import is_broken_off
from qpubus.place import Place
from qpubus.problem import EXIT_REFUSED
from qpubus.seeds import SEED_FIRST, Check, check_seeds
from qpubus.tables import table
from qpubus.wiring import Machine
from schemas.topics import TOPICS
from streams.reader import Reader
from streams.stage import Heard


def demo(
    *,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same counts.")] = 1,
    json: Json = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where to keep the log; a new temporary one if absent.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Be the approver yourself.")] = False,
    seeds: Annotated[
        int | None, typer.Option("--check-seeds", metavar="N", min=1, help="Run the job under N seeds and judge them.")
    ] = None,
) -> None:
    """Run the main job on the embedded log and a virtual clock: an agent's signed intent becomes a verified result.

    The agent declares a job that finds the ground-state energy of H2, policy asks for a human, an approver signs, the
    scheduler places it, chunks run, the result is recorded, run again and audited. Exit 1 if the job has no result, as
    when you say no, or if the audit finds anything.
    """
    if approve and json:
        raise typer.BadParameter("--approve talks with a person, --json with a program: choose one")
    if seeds is not None:
        _judge_seeds(seeds, json=json)
        return
    directory = data or Path(tempfile.mkdtemp(prefix="qpubus-demo-"))
    if data is None and not json:
        show.say(f"This demo keeps its log, keys and artefacts in {directory}, which you can delete afterwards.\n")
    if is_broken_off(Place(directory)) and not json:
        show.say(f"A founding was broken off in {directory}: it is begun again.\n")
    with told_story(quiet=json) as story:
        teller = Teller(story)
        report = asyncio.run(
            run_demo(directory, seed, teller.consent if approve else None, None if json else teller.look)
        )
    if json:
        show.json(report)
    else:
        _show_report(report)
    if report["job"]["state"] != "completed" or report["audit"]["verdict"] != "sound":
        raise typer.Exit(EXIT_REFUSED)


def _judge_seeds(count: int, *, json: bool) -> None:
    with counted("seeds", quiet=json) as progress:
        report = check_seeds(range(SEED_FIRST, SEED_FIRST + count), progress)
    checked = report.checks()
    if json:
        show.json(
            {
                "seeds": [asdict(each) for each in report.energies],
                "checks": [asdict(each) | {"holds": each.holds} for each in checked],
            }
        )
    else:
        rows = [
            (
                each.name,
                f"{each.value:.4g}",
                f"{each.low:g}",
                "" if each.high is None else f"{each.high:g}",
                _held(each),
            )
            for each in checked
        ]
        table(("over all seeds", "value", "at least", "at most", ""), rows, right=("value", "at least", "at most"))
    if not all(each.holds for each in checked):
        raise typer.Exit(EXIT_REFUSED)


def _held(check: Check) -> str:
    return "holds" if check.holds else "DOES NOT HOLD"


class Teller:
    """Reads along while the demo runs, tells its story, and asks a person where one is wanted."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._reader: Reader | None = None

    async def look(self, machine: Machine) -> None:
        """Tell what is new on the log."""
        if self._reader is None:
            self._reader = Reader(machine.log, machine.partition, TOPICS, {machine.site: machine.root_public_key})
        for item in await self._reader.read():
            if isinstance(item, Heard) and job_of(item.event):
                self._story.hear(item.event)

    async def consent(self, machine: Machine, job: Job) -> bool:
        """Show what would run and ask whether it may."""
        with self._story.paused():
            show.say()
            show_approval(job, machine.artifacts)
            show.say()
            return typer.confirm("May it run? Yes or no, the demo's key signs it.")


def _show_report(report: dict[str, Any]) -> None:
    job, approval, audit = report["job"], report["approval"], report["audit"]
    show.say()
    show.facts(
        [
            ("job", f"{job['job_id']}: {job['state']}"),
            (
                "approval",
                f"{approval['approver']} ({approval['proof_type']}, assurance {approval['assurance']})"
                if approval["approver"]
                else "",
            ),
            ("device", f"{job['device']}, snapshot {show.short(job['snapshot'])}" if job["device"] else ""),
            ("used", f"{job['shots_total']:,} shots in {job['iterations']} iterations, ${job['cost_usd']:,.2f}"),
            ("", "To decide anew, name another directory." if job["state"] == "refused" else ""),
            *_energies(report["result"]),
            ("audit", f"{audit['verdict']}: {audit['events']:,} events, {audit['signatures']:,} signatures"),
        ]
    )
    show.say()
    rows = [(name, *show.kpi(each), each.get("reason", "")) for name, each in report["kpis"].items()]
    table(("KPI", "value", "95 % interval", "n", ""), rows, right=("value", "n"))
    show.say(f"\nSee for yourself: qpubus audit verify --data {report['data']}")
    show.say(f"             and: qpubus audit explain {job['job_id']} --data {report['data']}")


def _energies(result: dict[str, Any]) -> list[tuple[str, str]]:
    energy, error = result["energy_hartree"], result["standard_error_hartree"]
    if energy is None:
        return []
    exact = f"{result['exact_hartree']:.5f} hartree, so the error is {result['error_millihartree']:+.2f} mHa"
    return [
        ("energy", f"{show.number(energy, error)} hartree"),
        ("before mitigation", f"{result['energy_raw_hartree']:.5f} hartree"),
        ("exact", exact),
    ]
