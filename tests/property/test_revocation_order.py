"""A revoked key: in whatever order all was said, every reader counts what came before its end and nothing later."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import own_schemas
from schemas.envelope import Cause
from schemas.events import ApprovalGranted, ArtifactStored, HumanProof, IntentWithdrawn, KeyRevoked
from schemas.keys import key_id, raw_public_key
from schemas.topics import TOPICS
from schemas.words import Event
from streams.author import Draft, Scribe
from streams.reader import Reader
from streams.stage import Heard
from tests.support.memory_log import MemoryLog
from tests.support.scene import EPOCH_US, SITE, Scene

GATEWAY, SANDBOX = "gateway:main", "sandbox:main"
PROOF = HumanProof(proof_type="ed25519", key_id="k", signature=b"")
SAYS: dict[str, Callable[[str], Event]] = {
    "intents": lambda job: IntentWithdrawn(job_id=job, agent_key_id="k", agent_proof="p", reason="r"),
    "approvals": lambda job: ApprovalGranted(job_id=job, intent_digest="ab" * 32, approver="a", proof=PROOF),
    "results": lambda job: ArtifactStored(digest=job.ljust(64, "0"), media_type="a/b", size_bytes=1),
}
SUBSETS = (TOPICS, ("governance", "intents", "results"), ("governance", "approvals"), tuple(reversed(TOPICS)))

_acts = st.lists(st.sampled_from([*SAYS, "sandbox"]), max_size=7)


async def _said(before: list[str], after: list[str]) -> Scene:
    """A site whose gateway and sandbox speak, then the gateway's key is revoked, then its thief speaks."""
    scene = Scene(MemoryLog(lambda: EPOCH_US))
    await scene.found()
    last: dict[str, Cause] = {}
    for number, act in enumerate(before):
        await _say(scene, act, f"b{number}", last)
    revoked = KeyRevoked(key_id=key_id(raw_public_key(scene.keys[GATEWAY])), reason="stolen")
    founded = len(await scene.log.read("governance", 0, 0, 10_000))
    enrolled = await Reader(scene.log, 0, ("governance",), {SITE: scene.root}).read(founded)
    named = tuple(last.values()) or tuple(item.cause for item in enrolled[-1:] if isinstance(item, Heard))
    schemas = {schema.event_type: schema for schema in own_schemas()}
    scene.scribes["root"] = Scribe("root", SITE, schemas, {"governance": founded})
    await scene.say("root", Draft("governance", revoked, SITE, EPOCH_US, named))
    for number, act in enumerate(after):
        await _say(scene, act, f"a{number}", last)
    return scene


async def _say(scene: Scene, act: str, job: str, last: dict[str, Cause]) -> None:
    """Let the gateway say something in a topic, or the sandbox something that all the gateway said has caused."""
    if act == "sandbox":
        draft = Draft("results", SAYS["results"](job), SITE, EPOCH_US, tuple(last.values()))
        await scene.say(SANDBOX, draft)
    else:
        (last[act],) = await scene.say(GATEWAY, Draft(act, SAYS[act](job), SITE, EPOCH_US))


async def _counted(scene: Scene, topics: tuple[str, ...], *, heeds_causes: bool) -> list[tuple[str, int]]:
    """What a reader counts of the gateway's, by topic and number."""
    reader = Reader(scene.log, 0, topics, {SITE: scene.root}, heeds_causes=heeds_causes)
    items = await reader.read(10_000)
    heard = [item for item in items if isinstance(item, Heard) and item.source == GATEWAY]
    return sorted((item.cause.topic, item.cause.sequence) for item in heard)


@settings(max_examples=60)
@given(_acts, _acts)
def test_every_reader_counts_what_a_key_said_before_its_end_and_nothing_later(
    before: list[str], after: list[str]
) -> None:
    async def check() -> None:
        scene = await _said(before, after)
        for topics in SUBSETS:
            due = sorted(
                (topic, number + 1) for topic in SAYS if topic in topics for number in range(before.count(topic))
            )
            assert await _counted(scene, topics, heeds_causes=True) == due
            if topics[0] == "governance":
                assert await _counted(scene, topics, heeds_causes=False) == due

    asyncio.run(check())
