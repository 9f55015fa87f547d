"""`python -m tests.support.attacks` writes the table of attacks into docs/attacks.md; tests run each of its cells.

An attacker gets all records of a log and hands back others. Those get places, hashes and a head that fit: so much can
do whoever has the files. What more is needed is said with each attack.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.admission import Stored
from schemas.codec import frame
from schemas.envelope import Cause, Inputs, Record, Stray, headers_of, inputs_of
from schemas.events import (
    AlarmRang,
    ApprovalGranted,
    ApprovalRejected,
    BudgetReleased,
    DeviceStatusChanged,
    IntentRefused,
    KeyRevoked,
    TraceSealed,
)
from schemas.keys import key_id, raw_public_key
from schemas.seal import seal_batch
from schemas.traces import TraceSummary
from tests.support.attacked import (
    LATER_US,
    Records,
    cause_of,
    event_in,
    rounds_of,
    said_otherwise,
    sealed_anew,
    with_said,
)
from tests.support.bundled import HOME
from tests.support.golden_log import GRANTED
from tests.support.signed import private_key

DOCUMENT = Path(__file__).parents[2] / "docs" / "attacks.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
VERDICTS = {0: "sound", 1: "refused", 2: "tampered", 3: "incomplete", 4: "unreadable", 5: "uncovered"}
_YEAR_US = 365 * 86_400 * 1_000_000
_DEVICE = "device:cloud-bargain-1"
_BUSY = DeviceStatusChanged(device="cloud-bargain-1", status="online", queue_jobs=9, queue_wait_us=1)
_RANG = AlarmRang(alarm_id="late", rings_us=LATER_US)


class Cell(NamedTuple):
    """What an auditor sees: the exit code, and the reason code of what is found first."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        return f"{VERDICTS[self.code]} {self.code}" + (f" `{self.reason}`" if self.reason else "")


class Attack(NamedTuple):
    """A row of the table.

    `here` is what `audit verify` says on the account that wrote the log and remembers its end; `elsewhere` what it says
    on another account of an export that was imported there; `bundle` what `qpubus-verify` says of a bundle of the job
    that is made of it; `witness` what `audit verify --witness` says elsewhere, given what the witness has kept.
    """

    name: str
    needs: str
    change: Callable[[Records], Sequence[Stored]]
    here: Cell
    elsewhere: Cell
    bundle: Cell
    witness: Cell
    finder: str


def at(records: Records, type_: str) -> int:
    """Where the job's first record of a type stands."""
    return next(
        place
        for place, stored in enumerate(records)
        if isinstance(stored.record, Record)
        and stored.record.type == f"qpubus.{type_}"
        and stored.record.subject in {GRANTED, HOME[0]}
    )


def _record(records: Records, type_: str) -> Record:
    record = records[at(records, type_)].record
    assert isinstance(record, Record)
    return record


def _put(records: Records, place: int, record: Record | Stray) -> Records:
    return [*records[:place], records[place]._replace(topic=record.topic, record=record), *records[place + 1 :]]


def edit(records: Records) -> Records:
    record = _record(records, "ApprovalGranted")
    value = record.value[:-1] + bytes([record.value[-1] ^ 1])
    return _put(records, at(records, "ApprovalGranted"), record._replace(value=value))


def delete(records: Records) -> Records:
    place = at(records, "ApprovalGranted")
    return [*records[:place], *records[place + 1 :]]


def reorder(records: Records) -> Records:
    place = at(records, "StepCompleted")
    return [*records[: place - 1], records[place], records[place - 1], *records[place + 1 :]]


def insert(records: Records) -> Records:
    record = _record(records, "IntentAdmitted")._replace(sequence="1")
    [forged] = seal_batch([record], [bytes(32)], private_key("stranger"))
    place = at(records, "IntentAdmitted")
    return [*records[:place], records[place]._replace(record=forged), *records[place:]]


def duplicate(records: Records) -> Records:
    place = at(records, "StepCompleted")
    return [*records[: place + 1], records[place], *records[place + 1 :]]


def replay(records: Records) -> Records:
    return [*records, records[at(records, "ApprovalGranted")]]


def truncate(records: Records) -> Records:
    last = records[at(records, "ResultRecorded")]
    return [each for each in records if each.topic != last.topic or each.offset < last.offset]


def roll_back(records: Records) -> Records:
    """The log as it was when its last round but one was sealed."""
    sealed = rounds_of(records)[-2]
    sizes = {head.topic: head.size for head in sealed.heads} | {"checkpoints": sealed.round}
    return [each for each in records if each.offset < sizes.get(each.topic, 0)]


def two_histories(records: Records) -> Records:
    """After that round other things happen, and the sealer seals them."""
    return sealed_anew(with_said(roll_back(records), _DEVICE, _BUSY, subject="cloud-bargain-1"))


def move_topic(records: Records) -> Records:
    return _put(records, at(records, "StepPlanned"), _record(records, "StepPlanned")._replace(topic="alarms"))


def move_key(records: Records) -> Records:
    return _put(records, at(records, "StepPlanned"), _record(records, "StepPlanned")._replace(key="site-b"))


def swap_schema(records: Records) -> Records:
    record = _record(records, "IntentAdmitted")
    other = int.from_bytes(_record(records, "PlacementDecided").value[1:5], "big")
    return _put(records, at(records, "IntentAdmitted"), record._replace(value=frame(other, record.value[5:])))


def add_header(records: Records) -> Records:
    record = _record(records, "IntentAdmitted")
    stray = Stray(record.topic, record.key.encode(), record.value, (*headers_of(record), ("ce_more", b"")))
    return _put(records, at(records, "IntentAdmitted"), stray)


def repeat_header(records: Records) -> Records:
    record = _record(records, "IntentAdmitted")
    headers = headers_of(record)
    stray = Stray(record.topic, record.key.encode(), record.value, (*headers[:3], headers[2], *headers[3:]))
    return _put(records, at(records, "IntentAdmitted"), stray)


def edit_header(records: Records) -> Records:
    return _put(records, at(records, "IntentAdmitted"), _record(records, "IntentAdmitted")._replace(causes=""))


def author_edits(records: Records) -> Records:
    released = BudgetReleased(job_id=GRANTED, amount_microusd=1)
    return said_otherwise(records, at(records, "BudgetReleased"), released)


def author_edits_and_seals(records: Records) -> Records:
    edited = author_edits(records)
    return sealed_anew([each for each in edited if each.topic != "checkpoints"])


def use_revoked_key(records: Records) -> Records:
    by_device = [each.record for each in records if isinstance(each.record, Record) and each.record.source == _DEVICE]
    last = {record.topic: cause_of(record) for record in by_device}
    revoked = KeyRevoked(key_id=key_id(raw_public_key(private_key(_DEVICE))), reason="lost")
    return with_said(with_said(records, "root", revoked, *last.values(), subject=HOME[0]), _DEVICE, _BUSY)


def use_silent_revoked_key(records: Records) -> Records:
    """The clock's key has said nothing on this log, so its revocation names what the root has said."""
    by_root = next(each.record for each in records if each.topic == "governance" and isinstance(each.record, Record))
    return _speak_revoked(records, cause_of(by_root))


def use_key_revoked_without_a_word(records: Records) -> Records:
    """A revocation that leaves open what counts, as `qpubus keys revoke` makes none."""
    return _speak_revoked(records)


def _speak_revoked(records: Records, *causes: Cause) -> Records:
    revoked = KeyRevoked(key_id=key_id(raw_public_key(private_key("clock:main"))), reason="lost")
    return with_said(with_said(records, "root", revoked, *causes, subject=HOME[0]), "clock:main", _RANG)


def use_wrong_role(records: Records) -> Records:
    return with_said(records, "gateway:main", _RANG)


def seal_other_trace(records: Records) -> Records:
    summary = TraceSummary(options=("run", "wait"), choice="run", said="it was said otherwise")
    sealed = TraceSealed(job_id=GRANTED, subject="agent:a", summary=summary, text_digest="ab" * 32)
    return with_said(records, "gateway:main", sealed)


def forge_grant(records: Records) -> Records:
    """A grant in the name of a person who has signed nothing, which policy obeys."""
    told = _with_forged_grant(records)
    return admit(told, last_of(told, "gateway:main", "approvals"))


def forge_rejected_grant(records: Records) -> Records:
    """Such a grant, which policy rejects. That is no attack on the log: it tells how one failed."""
    told = _with_forged_grant(records)
    grant = last_of(told, "gateway:main", "approvals")
    said = event_in(grant)
    assert isinstance(said, ApprovalGranted)
    rejected = ApprovalRejected(
        job_id=GRANTED, intent_digest=said.intent_digest, approver=said.approver, reason="stale", message="m"
    )
    return with_said(told, "stage:policy", rejected, cause_of(grant), inputs=next_inputs(records, "stage:policy"))


def obey_rejected_grant(records: Records) -> Records:
    """The same, and policy obeys it all the same."""
    told = forge_rejected_grant(records)
    return admit(told, last_of(told, "gateway:main", "approvals"))


def _with_forged_grant(records: Records) -> Records:
    granted = event_in(_record(records, "ApprovalGranted"))
    assert isinstance(granted, ApprovalGranted)
    forged = granted.model_copy(update={"proof": granted.proof.model_copy(update={"signature": bytes(64)})})
    return with_said(records, "gateway:main", forged)


def admit(records: Records, because: Record, **changed: object) -> Records:
    """Policy admits the job once more, or what is `changed` of that, having read one event."""
    admitted = event_in(_record(records, "IntentAdmitted")).model_copy(update=changed)
    return with_said(records, "stage:policy", admitted, cause_of(because), inputs=next_inputs(records, "stage:policy"))


def admit_without_grant(records: Records) -> Records:
    """Policy names a person who has granted nothing."""
    return admit(records, _record(records, "IntentDeclared"), approver="approver:nobody")


def refuse_admitted(records: Records) -> Records:
    """Policy says of one intent that it may run and that it may not."""
    declared = cause_of(_record(records, "IntentDeclared"))
    refused = IntentRefused(job_id=GRANTED, intent_digest=declared.digest, reason="denied", message="m")
    inputs = next_inputs(records, "stage:policy")._replace(runs=())
    return with_said(records, "stage:policy", refused, declared, inputs=inputs)


def last_of(records: Records, source: str, topic: str) -> Record:
    """The last record of a source in a topic."""
    by_source = [each.record for each in records if isinstance(each.record, Record) and each.topic == topic]
    return [each for each in by_source if each.source == source][-1]


def next_inputs(records: Records, stage: str) -> Inputs:
    """With what inputs a stage goes on that has read one event of `approvals` more."""
    records_of = [each.record for each in records if isinstance(each.record, Record) and each.record.source == stage]
    decision = max(inputs_of(record.inputs).decision for record in records_of)
    return Inputs(decision + 1, 1, (("approvals", 1),))


def date_log_back(records: Records) -> Records:
    place = at(records, "StepStarted")
    return [*records[:place], records[place]._replace(append_time_us=0), *records[place + 1 :]]


def date_log_on(records: Records) -> Records:
    place = at(records, "StepStarted")
    later = records[place].append_time_us + _YEAR_US
    return [*records[:place], records[place]._replace(append_time_us=later), *records[place + 1 :]]


def date_event_back(records: Records) -> Records:
    return with_said(records, _DEVICE, _BUSY, time_us=LATER_US - _YEAR_US)


def date_event_on(records: Records) -> Records:
    return with_said(records, _DEVICE, _BUSY, time_us=LATER_US + _YEAR_US)


def others_job(records: Records) -> Records:
    """A record of another job."""
    place = next(
        number
        for number, each in enumerate(records)
        if isinstance(each.record, Record) and each.record.type == "qpubus.RunCancelDecided"
    )
    record = records[place].record
    assert isinstance(record, Record)
    return _put(records, place, record._replace(value=record.value[:-1] + bytes([record.value[-1] ^ 1])))


_FILES, _KEY, _KEYS = "the files", "the files and the author's key", "the files and every key but a witness's"
_SOUND = Cell(0)


def _found(code: int, reason: str) -> tuple[Cell, Cell, Cell, Cell]:
    """Everybody finds the same."""
    return (Cell(code, reason),) * 4


ATTACKS = (
    Attack("nothing is changed", "", list, _SOUND, _SOUND, _SOUND, _SOUND, ""),
    Attack("edit: a byte of a grant is another", _FILES, edit, *_found(2, "seal_broken"), "the seal of its batch"),
    Attack("header tricks: the causes of an event are emptied", _FILES, edit_header, *_found(2, "seal_broken"),
           "the seal, which covers every header"),
    Attack("header tricks: a header more", _FILES, add_header, *_found(2, "header_unknown"), "the form of a record"),
    Attack("header tricks: a header twice", _FILES, repeat_header, *_found(2, "header_repeated"),
           "the form of a record"),
    Attack("swap the schema: a body is read by another event's schema", _FILES, swap_schema,
           *_found(2, "type_mismatch"), "the type, and the seal, which covers the digest of the schema's text"),
    Attack("move to another topic", _FILES, move_topic, Cell(2, "sequence_gap"), Cell(2, "sequence_gap"),
           Cell(2, "seal_broken"), Cell(2, "sequence_gap"), "the seal, which covers the topic; the author's count"),
    Attack("move to another key", _FILES, move_key, *_found(2, "site_foreign"), "the site, and the seal"),
    Attack("delete: a grant is gone", _FILES, delete, Cell(3, "sequence_gap"), Cell(3, "sequence_gap"),
           Cell(3, "cause_absent"), Cell(3, "sequence_gap"), "the author's count, causes, checkpoints"),
    Attack("reorder: two events of one author change places", _FILES, reorder, Cell(2, "sequence_gap"),
           Cell(2, "sequence_gap"), Cell(2, "sequence_repeated"), Cell(2, "sequence_gap"),
           "the author's count, of which no number is missing; checkpoints"),
    Attack("insert: an admission that a stranger has sealed", _FILES, insert, *_found(2, "key_unknown"),
           "governance, which has enrolled no such key"),
    Attack("duplicate: an event stands there twice", _FILES, duplicate, *_found(2, "sequence_repeated"),
           "the author's count"),
    Attack("replay: a grant is appended once more", _FILES, replay, *_found(2, "sequence_repeated"),
           "the author's count"),
    Attack("back-dating: the log says that it took an event in before the event's own time", _FILES, date_log_back,
           *_found(2, "time_ahead"), "the signed time"),
    Attack("truncate the tail of a topic", _FILES, truncate, Cell(3, "record_missing"), Cell(3, "journal_gap"),
           Cell(3, "proof_absent"), Cell(3, "journal_gap"),
           "journals, checkpoints; on its own account the remembered head"),
    Attack("others' job: a byte of another job's event is another", _FILES, others_job, Cell(2, "seal_broken"),
           Cell(2, "seal_broken"), Cell(2, "proof_broken"), Cell(2, "seal_broken"), "the seal; inclusion proofs"),
    Attack("wrong role: the gateway rings an alarm", _KEY, use_wrong_role, *_found(2, "role_forbidden"),
           "the table of roles"),
    Attack("the gateway seals another decision trace than the agent signed", _KEY, seal_other_trace,
           *_found(2, "trace_differs"), "the digest in the manifest that the agent signed"),
    Attack("a grant that nobody signed, by gateway and policy together", "the files and both their keys", forge_grant,
           *_found(2, "approval_proof_invalid"), "the person's signature, which only their own key makes"),
    Attack("a grant that nobody signed, which policy rejects and obeys", "the files and both their keys",
           obey_rejected_grant, *_found(2, "approval_proof_invalid"),
           "the person's signature: a rejection excuses nothing that an admission rests on"),
    Attack("policy admits a job by a grant that is not there", _KEY, admit_without_grant, *_found(3, "grant_absent"),
           "the grants, one for each approver whom an admission names"),
    Attack("policy admits a job that it also refuses", _KEY, refuse_admitted, *_found(2, "intent_refused"),
           "what policy says of that intent otherwise"),
    Attack("revoked key: a device speaks after its key was revoked", _KEY, use_revoked_key,
           *_found(2, "key_revoked"), "the revocation, which names the last that counts"),
    Attack("revoked key: one that had never spoken speaks after it was revoked", _KEY, use_silent_revoked_key,
           *_found(2, "key_revoked"), "the revocation, which names the enrolment: nothing counts"),
    Attack("post-dating: an author signs a time to come", _KEY, date_event_on, *_found(2, "time_ahead"),
           "the append time"),
    Attack("an author says something else under an old number, and its seal holds", _KEY, author_edits,
           Cell(2, "record_changed"), Cell(2, "sealed_record_changed"), Cell(2, "proof_broken"),
           Cell(2, "sealed_record_changed"), "the checkpoints since; on its own account the remembered head"),
    Attack("roll back: the whole directory is replaced by an older copy", _FILES, roll_back,
           Cell(3, "record_missing"), _SOUND, _SOUND, Cell(3, "sealed_record_missing"),
           "**a witness alone**; on its own account the remembered head"),
    Attack("two histories: other things happen after a roll back, and are sealed", _KEYS, two_histories,
           Cell(3, "record_missing"), _SOUND, _SOUND, Cell(3, "sealed_record_missing"),
           "**a witness alone**; on its own account the remembered head"),
    Attack("two histories: an old event is another, and all rounds are sealed anew", _KEYS, author_edits_and_seals,
           Cell(2, "record_changed"), _SOUND, _SOUND, Cell(2, "sealed_record_changed"),
           "**a witness alone**; on its own account the remembered head"),
    Attack("back-dating: an author signs a time long past", _KEY, date_event_back, _SOUND, _SOUND, _SOUND, Cell(5),
           "**nothing**: a signed time is its author's word; the next round proves when it came"),
    Attack("a revoked key speaks, its revocation names nothing, and no stage has read it yet", _KEY,
           use_key_revoked_without_a_word, _SOUND, _SOUND, _SOUND, Cell(5),
           "**nothing yet**: the stage in charge rejects it when it reads it, and every audit after that; "
           "`qpubus keys revoke` always names something"),
    Attack("the log says that it took an event in a year later", _FILES, date_log_on, Cell(2, "record_changed"),
           _SOUND, _SOUND, _SOUND, "**nothing** but the remembered head: append times are the operator's word"),
)  # fmt: skip
"""The table."""


def table() -> str:
    """The table as docs/attacks.md has it."""
    head = ("attack", "what it takes", "the account that wrote it", "elsewhere", "a bundle", "with a witness")
    rows = [
        (each.name, each.needs, *map(str, (each.here, each.elsewhere, each.bundle, each.witness)), each.finder)
        for each in ATTACKS
    ]
    lines = [(*head, "what finds it"), ("---",) * 7, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def documented() -> str:
    """The table that stands in docs/attacks.md."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(text.replace(BEGIN + documented() + END, BEGIN + table() + END))
