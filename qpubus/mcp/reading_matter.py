"""Resources and prompts: calibrations and timelines to read, examples to begin with, how to go about a job."""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from agents.client import h2_documents, h2_manifest
from qpubus.examples import H2_SEED
from qpubus.mcp.counter import Counter
from qpubus.refusal import Refusal
from schemas.manifest import Manifest, plain

JSON = "application/json"
BELL_QASM = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
_BELL_BUDGET = {"cost_microusd": 5_000_000, "shots": 1_000}
_YOURS = {"site", "initiator"}
"""Members of a manifest that the gateway fills in."""
Counters = Callable[[Context[Any, Any]], Awaitable[Counter]]


def bell_arguments(job_id: str) -> dict[str, Any]:
    """What to hand to `job_submit` for a Bell pair."""
    quantum = {"circuit": BELL_QASM, "shots": 1_000}
    manifest = {"job_id": job_id, "purpose": "test:bell-pair", "quantum": quantum, "budget": _BELL_BUDGET}
    return {"manifest": manifest | {"objective": "cheapest"}}


def h2_arguments(job_id: str) -> dict[str, Any]:
    """What to hand to `job_submit` for the ground state of H2 by VQE, programs and inputs included."""
    manifest = plain(h2_manifest(job_id, "agent:you", "site", H2_SEED))
    documents = [{"name": each.name, "text": each.content.decode()} for each in h2_documents()]
    kept = {name: value for name, value in manifest.items() if name not in _YOURS | {"artifacts"}}
    return {"manifest": kept, "documents": documents}


def add_resources(server: MCPServer[Any], counters: Counters) -> None:
    """What is there to be read, by address."""

    @server.resource(
        "qpubus://schemas/manifest", name="manifest-schema", title="Manifest (JSON Schema)", mime_type=JSON
    )
    def manifest_schema() -> str:
        """The form of a manifest, 2020-12. Circuits are base64 of OpenQASM 3; the tools take plain text as well."""
        return _json(Manifest.model_json_schema())

    @server.resource("qpubus://examples/bell", name="bell", title="A Bell pair, for job_submit", mime_type=JSON)
    def bell_example() -> str:
        """Arguments of job_submit for two entangled qubits, 1,000 shots, at most 5 USD. Choose your own job_id."""
        return _json(bell_arguments("bell-1"))

    @server.resource("qpubus://examples/h2-vqe", name="h2-vqe", title="H2 by VQE, for job_submit", mime_type=JSON)
    def h2_example() -> str:
        """Arguments of job_submit for a hybrid job: templates, programs, inputs, at most 600 USD. Needs a person."""
        return _json(h2_arguments("h2-vqe-1"))

    @server.resource(
        "qpubus://devices/{device}/snapshot", name="device-snapshot", title="A device's calibration", mime_type=JSON
    )
    async def snapshot(device: str, ctx: Context[Any, Any]) -> str:
        """The latest calibration in full: figures of each qubit and pair with standard errors, Braket capabilities."""
        return await _read(ctx, lambda counter: counter.device_snapshot(device))

    @server.resource("qpubus://jobs/{job_id}/timeline", name="job-timeline", title="A job's timeline", mime_type=JSON)
    async def timeline(job_id: str, ctx: Context[Any, Any]) -> str:
        """Every event of a job in order: when, who, what in a sentence, which signatures hold."""
        return await _read(ctx, lambda counter: counter.explain(job_id))

    async def _read(ctx: Context[Any, Any], ask: Callable[[Counter], Awaitable[dict[str, Any]]]) -> str:
        try:
            return _json(await ask(await counters(ctx)))
        except Refusal as refusal:
            told = f"{refusal.message} ({refusal.code})"
            raise (ResourceNotFoundError if refusal.status == 404 else ResourceError)(told) from None


def add_prompts(server: MCPServer[Any]) -> None:
    """How to go about common jobs."""

    @server.prompt(title="Test a device with a Bell pair")
    def bell_test(job_id: str, device: str = "") -> str:
        """Run a Bell pair, cheaply, and judge the counts."""
        arguments = bell_arguments(job_id)
        if device:
            arguments["manifest"]["allowed_devices"] = [device]
        return _steps(
            "Run a Bell pair and judge how well the device entangles two qubits.",
            arguments,
            "Read the counts from the result: 00 and 11 should share nearly all shots. Compare the error with the "
            "device's two_qubit_fidelity and readout_fidelity from device_snapshot, and say whether it fits.",
        )

    @server.prompt(title="Find the ground state of H2")
    def vqe_h2(job_id: str) -> str:
        """Run the variational eigensolver for H2 to 0.5 mHa. It needs a person's approval."""
        return _steps(
            "Find the ground-state energy of H2 by VQE.",
            {"see": "read the resource qpubus://examples/h2-vqe and set manifest.job_id", "job_id": job_id},
            "The job needs a person's approval: tell yours what `next` says, and wait. At the end report the energy "
            "with its standard error, the cost, and whether it converged.",
        )

    @server.prompt(title="Choose a device")
    def choose_device(circuit: str, shots: str, budget_usd: str) -> str:
        """Weigh devices for a circuit by price, wait and predicted success."""
        encoded = b64encode(circuit.encode()).decode()
        return (
            f"Which device should run this circuit {shots} times for at most {budget_usd} USD? Ask device_list, then "
            "quote with objective fastest, cheapest and most-faithful. Compare price_microusd, the candidates' "
            "predicted_success and queue_wait_us, and recommend one with your reasons. Do not submit anything.\n\n"
            f"The circuit, base64 of OpenQASM 3: {encoded}"
        )


def _steps(goal: str, arguments: dict[str, Any], end: str) -> str:
    return (
        f"{goal}\n\n1. Ask budget_left and device_list.\n2. Ask quote with these arguments; mend what it finds wrong, "
        "and tell the price before you go on.\n3. job_submit with the same arguments. It costs money.\n4. job_get with "
        f"wait_s 30 until is_over.\n5. {end}\n\nArguments:\n{_json(arguments)}"
    )


def _json(document: Any) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
