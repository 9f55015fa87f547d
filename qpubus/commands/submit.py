"""What an agent does from a terminal: `submit`, `quote`, `withdraw`."""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.client import RequestingAgent, sign_withdrawal
from projections.job import Job
from projections.jobs import JOBS
from qpubus import show
from qpubus.answering import kept_reason
from qpubus.commands.jobs import show_job
from qpubus.commands.options import DEFAULT_DATA, Data, JobId, Json
from qpubus.documents import job_full, reason_of
from qpubus.door_client import ask
from qpubus.following import follow, told_story
from qpubus.keyfile import read_key
from qpubus.manifest_file import ManifestFile, documents_beside, read_manifest, read_trace, with_trace
from qpubus.place import Place
from qpubus.problem import EXIT_REFUSED
from qpubus.reading import open_desk
from qpubus.requests import Declaration, Document, Trial, Withdrawal
from qpubus.tables import table
from schemas.keys import key_id, raw_public_key

NO_REASON = "no longer wanted"

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A job's manifest, JSON.")]
AgentKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The agent's private key; DIR/keys/agent.pem where none is named."),
]


def submit(
    manifest: ManifestPath,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end and show its result.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen; nothing is reserved.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Why: the decision trace, JSON. Its text is erasable."),
    ] = None,
    key: AgentKey = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Sign a manifest as its agent and declare it, with the programs and inputs that lie beside it.

    Declaring the same job again changes nothing and gives the same receipt.
    Exit 1 if it is refused, or, with --wait, if it does not end with a result.
    """
    if dry_run:
        quote(manifest, data=data, json=json)
        return
    file = read_manifest(manifest)
    agent = RequestingAgent(file.manifest.initiator, read_key(key or Place(data).key("agent")))
    sealed = read_trace(trace, file.manifest, agent) if trace else None
    if sealed:
        file = with_trace(file, sealed)
    _store_documents(file, data)
    said = Declaration(manifest=file.text, agent_proof=agent.sign(file.manifest), trace=sealed)
    receipt = ask(data, "declare", said)
    if wait:
        _wait(receipt["job_id"], data, json=json)
    elif json:
        show.json(receipt)
    else:
        _show_receipt(receipt, data)


def _store_documents(file: ManifestFile, data: Path) -> None:
    for each in list(documents_beside(file)):
        content = base64.b64encode(each.content).decode()
        ask(data, "store_artifact", Document(content=content, media_type=each.media_type))


def _show_receipt(receipt: dict[str, Any], data: Path) -> None:
    job_id = receipt["job_id"]
    show.facts(
        [
            ("declared", job_id),
            ("at", show.utc(receipt["time_us"])),
            ("intent", receipt["intent_digest"]),
            ("follow it", f"qpubus job {job_id} --data {data}"),
        ]
    )


def _wait(job_id: str, data: Path, *, json: bool) -> None:
    try:
        asyncio.run(_wait_for_end(job_id, data, json=json))
    except KeyboardInterrupt:
        print(f"The job goes on. Look again: qpubus job {job_id} --data {data}", file=sys.stderr)
        raise


async def _wait_for_end(job_id: str, data: Path, *, json: bool) -> None:
    async with open_desk(data) as desk:
        with told_story(quiet=json) as story:
            await follow(desk, job_id, story)
        views, job = await desk.job(job_id)
    if json:
        show.json(job_full(views[JOBS], job))
    else:
        show.say()
        show_job(views[JOBS], job)
    if _has_failed(job):
        raise typer.Exit(EXIT_REFUSED)


def _has_failed(job: Job) -> bool:
    return bool(reason_of(job)[0])


def quote(manifest: ManifestPath, *, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Say what a job would cost, what policy would say, where it would likely run and how exact it would be.

    Nothing is declared and nothing is reserved. Exit 1 if it would be refused.
    """
    file = read_manifest(manifest)
    _store_documents(file, data)
    trial = ask(data, "dry_run", Trial(manifest=file.text))
    if json:
        show.json(trial)
    else:
        _show_trial(trial)
    if trial["verdict"] == "refuse":
        raise typer.Exit(EXIT_REFUSED)


STANDARD_ERROR_PREFIX = "target_standard_error"
_ERROR_OF = "expected error"
_VERDICTS = {"admit": "may run at once", "ask": "needs a person's grant", "refuse": "would be refused"}


def _show_trial(trial: dict[str, Any]) -> None:
    price = trial["price_microusd"]
    show.facts(
        [
            ("policy", f"{_VERDICTS[trial['verdict']]}: {trial['message']} (rule {trial['rule']})"),
            ("price", show.usd(price) if price is not None else "unknown"),
            ("price at most", show.usd(trial["price_ceiling_microusd"], exact=True)),
            ("likely device", trial["device"] or "none"),
            ("why", trial["why"]),
            *(
                (_ERROR_OF, f"± {error:g} {name.removeprefix(STANDARD_ERROR_PREFIX).strip('_')}, as the job plans for")
                for name, error in sorted(trial["standard_errors"].items())
            ),
        ]
    )
    show.say()
    table(
        ("device", "verdict", "predicted success", "price", "wait"),
        [
            (
                each["device"],
                each["verdict"],
                f"{each['predicted_success']:.4f}",
                show.usd(each["price_microusd"]),
                show.duration(each["queue_wait_us"]),
            )
            for each in trial["candidates"]
        ],
        right=("price",),
    )


def withdraw(
    job_id: JobId,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it goes into the vault.")] = NO_REASON,
    key: AgentKey = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Take a job back, signed by its agent: if it waits it will not run, if it runs it stops after this chunk."""
    signer = read_key(key or Place(data).key("agent"))
    reason = why if why == NO_REASON else kept_reason(data, job_id, key_id(raw_public_key(signer)), why)
    proof = sign_withdrawal(job_id, reason, signer)
    said = ask(data, "withdraw", Withdrawal(agent_proof=proof))
    if json:
        show.json(said)
    else:
        show.say(f"Withdrawn: {job_id}. What becomes of it: qpubus job {job_id} --data {data}")
