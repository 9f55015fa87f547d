"""`audit bundle JOB`: a job and all that it rests on go into one file, which `replay/standalone.py` verifies alone.

What belongs to it says `replay.gathering`. Each record comes with its way to the root that the last round of
checkpoints sealed, or the last that witnesses cosigned, if that covers them all. Of a record that is no event of the
job's site only that is told of which its digest is made: a statement without its body, where it is another site's.
What a redacted bundle withholds says `replay.redaction`.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.artifacts import ArtifactError, ArtifactStore
from replay.audit import collector_off
from replay.gathering import HASHED, Gathering, Place
from replay.provenance import Fact, envelope, named_documents, redacted_statement, statement
from replay.redaction import withheld
from schemas.admission import EnrolledKey, Stored
from schemas.checkpoints import head_holds, note_of, origin_of
from schemas.digests import sha256_hex
from schemas.envelope import EnvelopeInvalid, Record, number_of
from schemas.events import CheckpointSealed, CheckpointWitnessed, EventRejected, TreeHead
from schemas.keys import key_id, raw_public_key
from schemas.merkle import tree_levels
from schemas.note import Note, Signature
from schemas.seal import seal_of
from schemas.topics import REJECTS, Role
from streams.log.port import ReadableLog

KIND = "qpubus bundle"
FORMAT = 1
_RECENT = 512
"""So many records of `checkpoints` are looked through for the last round and what witnesses said of it."""
_TEXTS = ("causes", "id", "inputs", "key", "sequence", "source", "subject", "time", "traceparent", "type")


class NotAuditor(Exception):
    """The key that should sign is not in force for an auditor on this log."""


class _Round(NamedTuple):
    """Tree heads by topic, and by topic the note of each with all signatures that there are."""

    heads: Mapping[str, TreeHead]
    notes: Mapping[str, Note]


async def bundle(
    log: ReadableLog,
    home: tuple[str, bytes],
    job_id: str,
    key: Ed25519PrivateKey,
    artifacts: ArtifactStore | None = None,
    *,
    others: Mapping[str, bytes] | None = None,
    redacts: bool = False,
) -> bytes:
    """The bundle of a job, signed by an auditor's `key`; without `artifacts` documents are named and left out.

    `home` is the job's site with its root public key; `others` are those of further sites on its partition number.
    One that `redacts` has no document and does not name any. `JobUnknown` if nobody declared the job there.
    """
    gathering = Gathering(log, home, job_id, others)
    with collector_off():
        records = await gathering.gather()
        round_ = await _round_of(gathering, records)
    facts = gathering.facts(_believed(gathering, records.values()))
    topics = {topic for topic, _ in records if topic in HASHED}
    content: dict[str, Any] = {
        "artifacts": {} if redacts else _documents(facts, artifacts),
        "checkpoints": {topic: round_.notes[topic].data.decode() for topic in topics & round_.notes.keys()},
        "format": FORMAT,
        "job": job_id,
        "kind": KIND,
        "partition": gathering.partition,
        "records": list(_record_documents(gathering, records, round_.heads, redacts=redacts)),
        "root": gathering.root_public_key.hex(),
        "site": gathering.site,
    }
    byproducts = {"bundle": sha256_hex(rfc8785.dumps(content))}
    tells = redacted_statement if redacts else statement
    said = tells(gathering.site, job_id, facts, byproducts)
    return rfc8785.dumps(content | {"dsse": envelope(said, key)}) + b"\n"


async def provenance(
    log: ReadableLog,
    home: tuple[str, bytes],
    job_id: str,
    key: Ed25519PrivateKey,
    others: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """The in-toto statement about a job in its DSSE envelope, for tools that read such and nothing else.

    `home` and `others` are as for `bundle`. `NotAuditor` if the key is none that is enrolled for an auditor,
    `JobUnknown` if nobody declared the job.
    """
    gathering = Gathering(log, home, job_id, others)
    with collector_off():
        records = await gathering.gather()
    signer = gathering.admission.keys.get(key_id(raw_public_key(key)))
    if signer is None or signer.revoked or signer.role != Role.AUDITOR.value:
        raise NotAuditor
    facts = gathering.facts(_believed(gathering, records.values()))
    return envelope(statement(gathering.site, job_id, facts, {}), key)


def _believed(gathering: Gathering, records: Collection[Stored]) -> list[Stored]:
    """The records that the stage in charge has not rejected: of the others a statement says nothing."""
    rejected = set()
    for stored in records:
        match gathering.event(stored):
            case EventRejected(topic=topic, offset=offset) if _is_in_charge(stored, topic):
                rejected.add((topic, offset))
            case _:
                pass
    return [stored for stored in records if (stored.topic, stored.offset) not in rejected]


def _is_in_charge(rejection: Stored, topic: str) -> bool:
    role, record = REJECTS.get(topic), rejection.record
    return role is not None and isinstance(record, Record) and record.source == f"stage:{role.value}"


async def _round_of(gathering: Gathering, records: Iterable[Place]) -> _Round:
    """The last round; or the last that has cosignatures, if its trees have all of the records."""
    sizes: dict[str, int] = {}
    for topic, number in records:
        sizes[topic] = max(sizes.get(topic, 0), number + 1)
    ends = await gathering.log.ends(gathering.partition)
    rounds: dict[int, _Round] = {}
    best = _Round({}, {})
    cosigned: dict[int, list[tuple[str, Signature]]] = {}
    async for found in gathering.records("checkpoints", max(0, ends["checkpoints"] - _RECENT)):
        for stored in found:
            match None if gathering.is_of_others(stored) else gathering.event(stored):
                case CheckpointSealed() as sealed:
                    best = rounds[sealed.round] = _sealed(gathering, sealed, stored) or best
                case CheckpointWitnessed() as witnessed:
                    for each in witnessed.cosignatures:
                        line = Signature(each.witness, bytes.fromhex(each.key_id), each.signature)
                        cosigned.setdefault(witnessed.round, []).append((each.topic, line))
                case _:
                    pass
    for number in sorted(cosigned.keys() & rounds.keys()):
        heads, notes = rounds[number]
        if all(topic in heads and heads[topic].size >= size for topic, size in sizes.items()):
            best = _Round(heads, _with_lines(notes, cosigned[number]))
    return best


def _sealed(gathering: Gathering, sealed: CheckpointSealed, stored: Stored) -> _Round | None:
    """The trees of a round; None if no enrolled sealer has signed them, or only after its key was revoked."""
    record = stored.record
    try:
        key = gathering.admission.keys.get(seal_of(record.seal).key_id) if isinstance(record, Record) else None
        if key is None or key.role != Role.SEALER.value or not _counts(key, stored):
            return None
    except EnvelopeInvalid:
        return None
    sealer, notes = raw_public_key(key.public_key), {}
    for head in sealed.heads:
        origin = origin_of(gathering.root_public_key, head.topic, gathering.partition)
        if not head_holds(origin, head, sealer):
            return None
        notes[head.topic] = note_of(origin, head, sealer)
    return _Round({head.topic: head for head in sealed.heads}, notes)


def _counts(key: EnrolledKey, stored: Stored) -> bool:
    """Whether a record by this key is within what its revocation, if there is one, lets count."""
    if not key.revoked or key.counts_to is None or not isinstance(stored.record, Record):
        return True
    return number_of(stored.record.sequence, "sequence") <= key.counts_to.get(stored.topic, 0)


def _documents(facts: Iterable[Fact], artifacts: ArtifactStore | None) -> dict[str, str | None]:
    """The documents that the events name: all that are in the store, or only their digests."""
    documents: dict[str, str | None] = {}
    for digest in sorted({digest for fact in facts for digest in named_documents(fact.event)}):
        documents[digest] = None
        if artifacts is not None:
            with suppress(ArtifactError):
                documents[digest] = _base64(artifacts.get(digest))
    return documents


def _record_documents(
    gathering: Gathering, records: Mapping[Place, Stored], heads: Mapping[str, TreeHead], *, redacts: bool
) -> Iterator[dict[str, Any]]:
    """The records as the bundle has them, each with its inclusion proof where its tree is sealed that far.

    Of a tree that was sealed with more records than are left there are no proofs, and the verifier misses them.
    """
    trees = gathering.trove.leaves
    levels = {
        topic: tree_levels(trees[topic][: head.size])
        for topic, head in heads.items()
        if topic in trees and len(trees[topic]) >= head.size
    }
    for (topic, number), stored in records.items():
        placed = {
            "append_time_us": str(stored.append_time_us),
            "offset": stored.offset,
            "proof": _proof(levels.get(topic, [[]]), number),
            "topic": topic,
        }
        if gathering.is_of_others(stored):
            if placed["proof"]:
                yield placed | {"preimage": _base64(gathering.vocabulary.preimage(stored))}
        else:
            yield placed | _record_document(stored, gathering.vocabulary.preimage(stored), redacts=redacts)


def _record_document(stored: Stored, preimage: bytes, *, redacts: bool) -> dict[str, Any]:
    """A record without its place: what was received, or what is left of it where its words are withheld."""
    record = stored.record
    left = withheld(stored.topic, record, preimage) if redacts else None
    if preimage[:1] == b"\1" and left:
        return {"digest": left[1]}
    if not isinstance(record, Record):
        return {"preimage": _base64(preimage)}
    texts = {name: getattr(record, name) for name in _TEXTS} | {"seal": _base64(record.seal)}
    if left:
        return {"record": {**texts, "body": left[1], "value": _base64(left[0])}}
    return {"record": {**texts, "value": _base64(record.value)}}


def _proof(levels: Sequence[Sequence[bytes]], number: int) -> str:
    """The upper part of a C2SP tlog-proof: the topic's checkpoint after an empty line makes it whole."""
    if number >= len(levels[0]):
        return ""
    lines, at = ["c2sp.org/tlog-proof@v1", f"index {number}"], number
    for level in levels[:-1]:
        if at ^ 1 < len(level):
            lines.append(_base64(level[at ^ 1]))
        at >>= 1
    return "\n".join(lines) + "\n"


def _with_lines(notes: Mapping[str, Note], lines: Iterable[tuple[str, Signature]]) -> dict[str, Note]:
    """Notes with cosignatures added to their topics' ones."""
    added = dict(notes)
    for topic, line in lines:
        if topic in added and line not in added[topic].signatures:
            added[topic] = added[topic]._replace(signatures=(*added[topic].signatures, line))
    return added


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
