"""The page of a job: it needs nothing else, runs nothing, and shows what strangers wrote without acting on it."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qpubus.explain_page import page
from qpubus.policy_set import built_in
from replay.explain import Explanation, Line
from replay.proofs import Proof
from schemas.events import IntentWithdrawn
from schemas.keys import key_id
from tests.support.commands import qpubus
from tests.support.golden_log import DENIED, GRANTED, SEALED_TEXT, golden_logs, restore, root_public_key

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=y>\"'&\u202etxt\x1b[2J"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ol", "li", "time", "dl", "dt", "dd"),
    *("details", "summary", "pre", "code", "span", "br"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "open"}


class Reader(HTMLParser):
    """All tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return restore(golden_logs()[0], tmp_path / "data")


def test_a_job_is_told_on_one_page_with_its_policy_its_statement_and_its_candidates(data: Path) -> None:
    done = qpubus("audit", "explain", GRANTED, "--html", "--data", data)
    text = Reader(done.out).text
    assert (done.code, done.err) == (0, "")
    assert "signatures checked: all hold" in text
    assert '"approval_above_microusd": 50000000' in text
    assert '"price_ceiling_microusd": 60000000' in text
    assert "approver:tester says yes" in text
    assert "outscored" in text
    assert key_id(root_public_key()) in text
    assert SEALED_TEXT not in text


def test_a_page_and_a_document_are_not_printed_in_one(data: Path) -> None:
    assert qpubus("audit", "explain", GRANTED, "--html", "--json", "--data", data).code == 64


def test_a_page_names_nothing_outside_itself_and_runs_nothing(data: Path) -> None:
    shown = qpubus("audit", "explain", DENIED, "--html", "--data", data).out
    read = Reader(shown)
    assert read.tags <= TAGS
    assert read.attributes.keys() <= ATTRIBUTES
    assert not re.search(r"url\(|@import|https?:", shown)


def test_the_policy_of_a_page_allows_its_own_style_and_nothing_else(data: Path) -> None:
    shown = qpubus("audit", "explain", DENIED, "--html", "--data", data).out
    [policy] = [each for each in Reader(shown).attributes["content"] if "default-src" in each]
    style = shown.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def hostile(*, holds: bool) -> str:
    proof = Proof(kind=HOSTILE, key_id=HOSTILE, by=HOSTILE, holds=holds, detail=HOSTILE)
    line = Line(
        time_us=0, topic=HOSTILE, partition=0, offset=0, event_id=HOSTILE, event_type=HOSTILE, source=HOSTILE,
        role=HOSTILE, sentence=HOSTILE, details=((HOSTILE, HOSTILE),), proofs=(proof,), causes=(HOSTILE,), name=HOSTILE,
    )  # fmt: skip
    said = IntentWithdrawn(job_id="j", agent_key_id=HOSTILE, agent_proof=HOSTILE, reason=HOSTILE)
    explained = Explanation(job_id=HOSTILE, site="s", lines=(line,), passed_over=(HOSTILE,))
    return page(explained, [said], {"s": bytes(32)})


@pytest.mark.parametrize("holds", [True, False])
def test_what_strangers_wrote_is_shown_and_never_acted_on(holds: bool) -> None:
    shown = hostile(holds=holds)
    read = Reader(shown)
    assert read.tags <= TAGS
    assert read.attributes.keys() <= ATTRIBUTES
    assert "<script>alert(1)</script>" in read.text
    assert not {"\u202e", "\x1b"} & set(shown)


def test_a_signature_that_does_not_hold_stands_at_the_top_of_the_page() -> None:
    assert "NOT ALL HOLD" in Reader(hostile(holds=False)).text


def test_the_rules_in_force_stand_on_the_page_whole_and_readable() -> None:
    policy = built_in("first-poc").event()
    line = Line(
        time_us=0, topic="governance", partition=0, offset=0, event_id="e", event_type="qpubus.PolicyPublished",
        source="root", role="root", sentence="policy first-poc is published",
        details=(("clause two-lines", "permit (\n);"),), proofs=(), causes=(), name="n",
    )  # fmt: skip
    explained = Explanation(job_id="j", site="s", lines=(line,), passed_over=())
    shown = page(explained, [policy], {"s": bytes(32)})
    assert policy.rules in Reader(shown).text
    assert policy.rules_schema in Reader(shown).text
    assert "<pre>permit (\n);</pre>" in shown
