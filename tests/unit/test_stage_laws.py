"""Laws of every stage: whatever is said in whatever order, nothing is raised, and a state reads back as saved."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.digests import digest_of_parts
from schemas.topics import STAGES as STAGE_ROLES
from schemas.topics import WRITERS, Role
from schemas.words import Event, HexDigest, Identifier, Words
from streams.stage import AnyStage, Heard
from streams.state import state_bytes, state_from
from tests.support.actors import cast_of, play
from tests.support.jobs import AGENT, APPROVER, DEVICES, Town, declared, hybrid, id_of, manifest
from tests.support.world import STAGES, World

DIGESTS = tuple(digest_of_parts("d", number) for number in range(2))
INTENTS = (
    declared(manifest("job-1")),
    declared(hybrid("job-2", deadline_us=1_800_000_100_000_000)),
    declared(manifest("job-2", budget={"cost_microusd": 60_000_000, "shots": 100_000})),
    declared(manifest("job-1")).model_copy(update={"agent_proof": "a.b.c"}),
)
EDGES: dict[Any, tuple[Any, ...]] = {
    int: (0, 1, 1_000, 1 << 53, (1 << 62) - 1, 1_800_000_000_000_000, 253_402_300_799_999_999),
    float: (0.0, 0.5, 1.0, -1.5, 5e-324, 1.7e308, -1.7e308),
    str: ("", "quantum", "loop", "withdrawn", "a" * 300, "é\u0000"),
    bytes: (b"", b"\x01" * 32, b"\xff" * 64),
    bool: (True, False),
}
NAMED: dict[str, tuple[Any, ...]] = {
    "job_id": ("job-1", "job-2", "j" * 128),
    "device": (*DEVICES, "d" * 128),
    "devices": ((), DEVICES, (DEVICES[0], DEVICES[0])),
    "step": (0, 1, 2),
    "circuit": (0, 1),
    "chunk": (0, 1, 2),
    "key_id": (id_of(APPROVER), id_of(AGENT), "unknown"),
    "source": (APPROVER, AGENT),
    "approver": (APPROVER, AGENT),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type, with a liking for its edges."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == HexDigest:
        return st.sampled_from(DIGESTS)
    if annotation == Identifier:
        return st.sampled_from(("a", "z" * 128))
    if origin is Annotated:
        return values(arguments[0])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.sampled_from(("theta", "00", "")), values(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, Words):
        return words(annotation)
    return st.sampled_from(EDGES[annotation])


def words(kind: type[Words]) -> st.SearchStrategy[Any]:
    """Values of a class of words that its own checks let pass."""
    hints = {name: field.rebuild_annotation() for name, field in kind.model_fields.items()}
    fields = {
        name: st.sampled_from(NAMED[name]) if name in NAMED else values(annotation)
        for name, annotation in hints.items()
    }
    adapter = TypeAdapter(kind)

    def made(raw: dict[str, Any]) -> Any:
        try:
            return adapter.validate_python(raw)
        except ValueError:
            return None

    return st.fixed_dictionaries(fields).map(made).filter(lambda made: made is not None)


SPEECHES = [
    (topic, event_type, role)
    for topic, types in WRITERS.items()
    for event_type, roles in types.items()
    for role in sorted(roles)
    if event_type.__name__ not in {"IntentDeclared", "SchemaPublished", "ResultRecorded"}
]
SOURCES = {role: (role.value,) for role in Role} | {
    Role.DEVICE: tuple(f"device:{device}" for device in DEVICES),
    Role.ROOT: ("root",),
    **{role: (f"stage:{role.value}",) for role in STAGE_ROLES},
}


@st.composite
def speeches(draw: st.DrawFn) -> tuple[str, Event, Role, str, int]:
    """Anything that admission would let pass: topic, event, role, source, time."""
    time_us = draw(st.sampled_from((0, 1_800_000_000_000_000, 1_800_000_200_000_000, 253_402_300_799_999_999)))
    if draw(st.integers(0, 5)) == 0:
        return "intents", draw(st.sampled_from(INTENTS)), Role.GATEWAY, "gateway:main", time_us
    topic, event_type, role = draw(st.sampled_from(SPEECHES))
    return topic, draw(words(event_type)), role, draw(st.sampled_from(SOURCES[role])), time_us


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.role.value)
@settings(max_examples=40)
@given(said=st.lists(speeches(), min_size=1, max_size=25))
def test_no_event_makes_a_stage_raise(stage: AnyStage, said: list[tuple[str, Event, Role, str, int]]) -> None:
    world = Town(World(stages=(stage,))).found().world
    for topic, event, role, source, time_us in said:
        world.say(role, source, event, topic=topic, time_us=time_us)
    world.settle()


@pytest.mark.parametrize("seed", range(20))
def test_a_state_reads_back_as_it_was_saved_at_every_moment(seed: int) -> None:
    rng = Random(seed)  # noqa: S311 -- an order by its seed, nothing secret
    town = Town(World(rng)).found()
    town.declare(hybrid("job-1", deadline_us=town.world.now_us + 3_600_000_000))
    town.declare(manifest("job-2", budget={"cost_microusd": 60_000_000, "shots": 10_000}))
    players = cast_of(town.world)
    moving = True
    while moving:
        for desk in town.world.desks:
            town.world.turn(desk)
            saved = state_bytes(desk.stage.state_type, desk.state)
            assert state_from(desk.stage.state_type, saved) == desk.state
        moving = any(player.step() for player in players) or town.world.can_read()
    assert {"job-1"} == set(town.world.state(STAGES[0]).finished)


def real_log() -> list[Heard]:
    """What is said where one job runs to its result, one is granted, one is withdrawn and one repeats an id."""
    town = Town().found()
    world = town.world
    players = cast_of(world)
    town.declare(hybrid("job-1", deadline_us=world.now_us + 3_600_000_000))
    town.declare(manifest("job-2", budget={"cost_microusd": 60_000_000, "shots": 10_000}))
    town.declare(manifest("job-3"))
    world.settle()
    town.grant("job-2")
    for _ in range(25):
        world.settle()
        any(player.step() for player in players)
    town.withdraw("job-3")
    town.declare(manifest("job-1"))
    play(world, players)
    world.ring()
    return world.log


REAL_LOG = real_log()


def garbled(event: Event, rng: Random) -> Event:
    """The event with one field changed to an edge of its type, where its own checks let that pass."""
    name = rng.choice(sorted(type(event).model_fields))
    old = getattr(event, name)
    edges = NAMED.get(name) or EDGES.get(type(old)) or (old,)
    try:
        return type(event).model_validate(dict(event) | {name: rng.choice(edges)})
    except ValueError:
        return event


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.role.value)
@pytest.mark.parametrize("seed", range(40))
def test_no_order_repetition_or_garbling_of_a_real_log_makes_a_stage_raise(stage: AnyStage, seed: int) -> None:
    rng = Random(seed)  # noqa: S311 -- an order by its seed, nothing secret
    heard = [rng.choice(REAL_LOG) if rng.random() < 0.2 else each for each in REAL_LOG if rng.random() < 0.95]
    for _ in range(rng.randrange(len(heard))):
        one, other = rng.randrange(len(heard)), rng.randrange(len(heard))
        heard[one], heard[other] = heard[other], heard[one]
    state = stage.initial
    for each in heard:
        event = garbled(each.event, rng) if rng.random() < 0.2 else each.event
        taken = each._replace(event=event)
        if each.source != stage.source:
            outputs = stage.decide(state, taken)
            state = stage.evolve(state, taken)
            for output in outputs:
                cause = taken.cause._replace(topic=output.topic)
                own = taken._replace(event=output.event, source=stage.source, role=stage.role.value, cause=cause)
                state = stage.evolve(state, own)
    assert state_from(stage.state_type, state_bytes(stage.state_type, state)) == state
