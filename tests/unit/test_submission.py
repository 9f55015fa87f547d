"""Bringing checkpoints to witnesses: what a witness does not cosign, and why, its operator's neighbour is told once."""

from pathlib import Path

import pytest

from agents.witness.submission import RETRY_US, Answer, Submission
from tests.support.sealing import Sealing, in_memory
from tests.support.witnesses import Witnesses

REFUSED = Answer(403, b"no key of the log has signed\nthis checkpoint\n")


class Mute:
    """Answers for a witness what it is told to; None lets the witness itself answer."""

    def __init__(self, witnesses: Witnesses, answer: Answer | None) -> None:
        self.witnesses = witnesses
        self.answer = answer

    async def send(self, url: str, data: bytes) -> Answer | None:
        return self.answer or await self.witnesses.send(url, data)


async def brought(tmp_path: Path, answer: Answer | None) -> tuple[Sealing, Submission, Mute]:
    """A sealed town whose round is brought to a witness that answers so."""
    town = await in_memory()
    await town.alarm(3)
    await town.sealer().finish()
    mute = Mute(Witnesses(town, tmp_path), answer)
    witnesses = list(mute.witnesses.policy.witnesses.values())
    submission = Submission(town.member("witness:main"), town.log, town.clock, witnesses, mute.send)
    await again(town, submission)
    return town, submission, mute


async def again(town: Sealing, submission: Submission) -> None:
    """Let so much time pass that a witness is asked once more."""
    town.clock.advance_to(town.clock.now_us() + RETRY_US)
    await submission.step()


async def test_a_refusal_is_told_with_what_the_witness_says_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await brought(tmp_path, REFUSED)
    [line] = caplog.messages
    assert line.startswith("witness w1.example answers 403: no key of the log has signed this checkpoint; give it")
    assert "`qpubus audit logs`" in line


async def test_the_same_refusal_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    town, submission, _ = await brought(tmp_path, REFUSED)
    await again(town, submission)
    assert len(caplog.messages) == 1


async def test_another_answer_and_the_end_of_refusals_are_told_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    town, submission, mute = await brought(tmp_path, REFUSED)
    mute.answer = Answer(500, b"")
    await again(town, submission)
    mute.answer = None
    await again(town, submission)
    assert caplog.messages[1:] == ["witness w1.example answers 500: nothing", "witness w1.example cosigns again"]


async def test_a_witness_that_does_not_answer_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    town, submission, mute = await brought(tmp_path, REFUSED)
    mute.answer = None
    mute.witnesses.away = {1}
    await again(town, submission)
    assert caplog.messages[1:] == ["witness w1.example does not answer at http://w1.example"]


async def test_an_answer_without_the_cosignature_of_the_policys_key_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await brought(tmp_path, Answer(200, b"nonsense\n"))
    [line] = caplog.messages
    assert "not by its key in the policy" in line


async def test_a_witness_that_cosigns_is_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await brought(tmp_path, None)
    assert caplog.messages == []
