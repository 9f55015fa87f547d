"""Run the whole VQE job against one emulated device without a bus: seeds in, results out.

Programs run as a job would run them, in processes of their own; `in_process=True` calls the same functions here,
which is faster by the starts of five processes.
"""

import hashlib
import importlib.util
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from agents.devices.compiler import compile_circuit
from agents.devices.fleet import EmulatedDevice, open_fleet
from agents.devices.ledger import ChunkOrder, Reservation
from agents.devices.profiles import device_price
from agents.devices.qasm import parse_template
from agents.devices.seeds import chunk_seed, named_seed
from agents.workloads.vqe import vqe_job
from streams.pricing import charge_microusd

EPOCH_US = 1_790_000_000_000_000
SLOT_US = 8 * 3_600_000_000
TOKEN = b"driver"


@dataclass
class VqeRun:
    """What a run leaves: the result document, chunks, device time, the price of the time used and asked circuits."""

    result: dict[str, Any]
    chunks: int
    busy_us: int
    price_microusd: int
    history: list[dict[str, Any]] = field(repr=False)


def run_vqe(directory: Path, seed: int, device_id: str = "onprem-iontrap-1", in_process: bool = False) -> VqeRun:
    """Run the shipped job on a fresh fleet under `seed`, which also seeds the job."""
    device = open_fleet(directory, seed)[device_id]
    job = vqe_job()
    # Each seed is another day of another fleet.
    now_us = EPOCH_US + named_seed(seed, "day") % 1_000 * 86_400_000_000
    parameters = {**job.parameters.model_dump(), "seed": seed}
    document = {"hamiltonian": job.hamiltonian(), "parameters": parameters}
    _reserve(device, now_us)
    history: list[dict[str, Any]] = []
    circuits = _program(job.programs.preprocessing, document, in_process)["circuits"]
    for step in range(job.iteration_limit):
        history += _execute(device, circuits, step, seed, now_us)
        answer = _program(job.programs.step, {**document, "history": history}, in_process)
        if answer["converged"]:
            break
        circuits = answer["circuits"]
    result = _program(job.programs.post, {**document, "history": history}, in_process)
    records = list(device.ledger.chunks())
    device.ledger.close()
    busy_us = records[-1].ended_us - records[0].started_us
    price = charge_microusd(device_price(device.profile), len(records), sum(r.shots for r in records), busy_us)
    return VqeRun(result, len(records), busy_us, price, history)


def _reserve(device: EmulatedDevice, now_us: int) -> None:
    digest = hashlib.sha256(TOKEN).hexdigest()
    device.reserve(Reservation(digest, "vqe", 10**8, now_us, now_us + SLOT_US, now_us + SLOT_US), now_us)


def _execute(
    device: EmulatedDevice, circuits: list[dict[str, Any]], step: int, seed: int, now_us: int
) -> list[dict[str, Any]]:
    """Run each asked circuit as one chunk, all values checked against what the job declares."""
    job = vqe_job()
    templates = [parse_template(template.source) for template in job.templates]
    snapshot = device.calibrate(now_us)
    done = []
    for number, asked in enumerate(circuits):
        ranges = job.templates[asked["template"]].ranges
        assert all(ranges[name][0] <= value <= ranges[name][1] for name, value in asked["parameters"].items())
        assert 0 < asked["shots"] <= job.parameters.shots
        circuit = compile_circuit(templates[asked["template"]], asked["parameters"], snapshot)
        drawn_from = chunk_seed(seed, step, number, 0)
        order = ChunkOrder(TOKEN, f"run-{step}", f"{step}-{number}-0", circuit.digest, asked["shots"], drawn_from)
        done.append({**asked, "step": step, "counts": device.run(order, circuit, snapshot, now_us).counts})
    return done


def _program(name: str, document: dict[str, Any], in_process: bool) -> dict[str, Any]:
    path = vqe_job().program_path(name)
    if in_process:
        module = load_program(path)
        if name == "prep_vqe.py":
            return {"circuits": module.first_circuits(document["parameters"])}
        answer: dict[str, Any] = module.next_step(document) if name == "step_vqe.py" else module.fit(document)
        return answer
    finished = subprocess.run(
        [sys.executable, str(path)], input=orjson.dumps(document), capture_output=True, check=True, timeout=60
    )
    loaded: dict[str, Any] = orjson.loads(finished.stdout)
    return loaded


def load_program(path: Path) -> ModuleType:
    """Import a stand-alone program by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
