"""What a person sees before they sign: purpose, circuits, programs, shots, price, the rule and why, and the expiry.

Nothing is taken on trust: where a circuit or program has not the digest that the statement names, there is nothing to
sign. Texts come from strangers, so whatever could steer the terminal is escaped.
"""

from collections.abc import Iterator

from agents.artifacts import ArtifactError, ArtifactStore
from projections.job import Approval, Job
from qpubus import show
from qpubus.problem import Problem
from schemas.digests import sha256_hex
from schemas.events import ApprovalStatement
from schemas.manifest import CircuitTemplate, Manifest, circuit_text


def show_approval(job: Job, store: ArtifactStore, last: Job | None = None, *, with_programs: bool = False) -> Approval:
    """Show all that a job's approver must know and return what they are asked to sign.

    `last` is the job that this agent had declared before, which what is new is told against.
    """
    approval, manifest = job.approval, job.manifest
    if approval is None or manifest is None or job.state != "awaiting_approval":
        raise Problem(f"the job {job.job_id} waits for nobody: it is {job.state}", code="not_awaiting_approval")
    statement = approval.statement
    _check_templates(manifest, approval)
    show.facts(_facts(job, approval, manifest))
    _show_differences(job, last)
    for at, (template, digest) in enumerate(zip(manifest.quantum.templates(), statement.template_digests, strict=True)):
        show.say(f"\ncircuit {at}: {show.printable(template.name)}, SHA-256 {digest}")
        show.say((_indented(_ranges(template)) + _indented(circuit_text(template.circuit))).rstrip())
    show.say("\nprograms")
    for (kind, name), digest in zip(_programs(manifest), _program_digests(manifest, approval), strict=True):
        show.say(f"  {kind}: {show.printable(name)}, SHA-256 {digest}")
        if with_programs:
            show.say(_indented(_program(store, digest)))
    for name, digest in sorted(manifest.artifacts.items()):
        if digest not in statement.program_digests:
            show.say(f"  input: {show.printable(name)}, SHA-256 {digest}")
    return approval


def _facts(job: Job, approval: Approval, manifest: Manifest) -> list[tuple[str, str]]:
    statement = approval.statement
    needs = manifest.quantum.backend_requirements
    wanted = [
        f"two-qubit fidelity ≥ {needs.min_fidelity:g}" if needs.min_fidelity else "",
        f"predicted success ≥ {needs.min_success:g}" if needs.min_success else "",
        needs.topology,
        f"on {', '.join(manifest.allowed_devices)}" if manifest.allowed_devices else "",
    ]
    return [
        ("job", job.job_id),
        ("asked by", manifest.initiator),
        ("purpose", show.printable(statement.purpose)),
        ("data", manifest.data_class),
        ("shots at most", f"{statement.shots:,}, {manifest.quantum.shots:,} a circuit unless a program says otherwise"),
        ("iterations at most", str(manifest.loop.iterations_max) if manifest.loop else ""),
        ("price at most", show.usd(statement.price_ceiling_microusd, exact=True)),
        ("device", show.printable(", ".join(filter(None, wanted)) or "any that policy lets it run on")),
        ("may run on", show.printable(", ".join(approval.devices))),
        ("needs you because", show.printable(approval.message)),
        ("rule", show.printable(statement.rule or approval.rule)),
        ("must say yes", _who(statement)),
        ("has said yes", show.printable(", ".join(approval.granted_by)) or "nobody yet"),
        ("expires", show.utc(statement.expires_us)),
        ("intent", statement.intent_digest),
        ("policy", statement.policy_digest),
    ]


def _who(statement: ApprovalStatement) -> str:
    persons = "one person" if statement.quorum == 1 else f"{statement.quorum} persons"
    return persons + (f", answering for {' and '.join(statement.roles)} among them" if statement.roles else "")


def _show_differences(job: Job, last: Job | None) -> None:
    """What this job has other than the one before by the same agent; its state tells how that one fared."""
    if last is None or last.declaration is None or job.declaration is None:
        show.say("\nIt is the first job of this agent.")
        return
    before, now = last.declaration, job.declaration
    differing = [
        ("purpose", before.purpose, now.purpose),
        ("data", before.data_class, now.data_class),
        ("shots at most", f"{before.budget_shots:,}", f"{now.budget_shots:,}"),
        ("iterations at most", str(before.iterations_max), str(now.iterations_max)),
        ("price at most", show.usd(before.budget_microusd, exact=True), show.usd(now.budget_microusd, exact=True)),
        ("devices it names", ", ".join(before.devices) or "any", ", ".join(now.devices) or "any"),
        ("circuits", *_apart(before.circuits, now.circuits)),
        ("programs", *_apart(before.programs, now.programs)),
        ("parameters", *(", ".join(f"{name} {value:g}" for name, value in each.parameters) for each in (before, now))),
        ("signed by key", before.agent_key_id, now.agent_key_id),
    ]
    show.say(f"\nOther than this agent's last job, {show.printable(last.job_id)} ({last.state}):")
    told = [(name, f"{show.printable(old)} → {show.printable(new)}") for name, old, new in differing if old != new]
    show.facts([(f"  {name}", change) for name, change in told] or [("  nothing", "it asks for the same again")])


def _apart(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, str]:
    """Digests as their first digits; only those that the two have not in common."""
    common = set(before) & set(now)
    old, new = ([show.short(each) for each in side if each not in common] for side in (before, now))
    return ", ".join(old) or "none other", ", ".join(new) or "none other"


def _check_templates(manifest: Manifest, approval: Approval) -> None:
    texts = [circuit_text(template.circuit) for template in manifest.quantum.templates()]
    digests = tuple(sha256_hex(text.encode()) for text in texts)
    if digests != approval.statement.template_digests:
        raise Problem(
            f"the circuits of {manifest.job_id} are not those that the statement names",
            "Do not sign. Tell the operator: `qpubus audit verify` shows what happened.",
            code="statement_differs",
        )


def _programs(manifest: Manifest) -> list[tuple[str, str]]:
    return list(manifest.programs().items())


def _program_digests(manifest: Manifest, approval: Approval) -> tuple[str, ...]:
    digests = tuple(manifest.program_digest(kind) for kind, _ in _programs(manifest))
    if digests != approval.statement.program_digests:
        raise Problem(
            f"the programs of {manifest.job_id} are not those that the statement names",
            "Do not sign. Tell the operator: `qpubus audit verify` shows what happened.",
            code="statement_differs",
        )
    return digests


def _program(store: ArtifactStore, digest: str) -> str:
    try:
        return show.printable(store.get(digest).decode(errors="backslashreplace"), lines=True)
    except ArtifactError as error:
        return f"(its text cannot be shown: {error})"


def _ranges(template: CircuitTemplate) -> str:
    def lines() -> Iterator[str]:
        for name, range_ in sorted(template.parameters.items()):
            yield f"parameter {show.printable(name)} from {range_.low:g} to {range_.high:g}\n"

    return "".join(lines())


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
