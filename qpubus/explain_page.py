"""What happened to a job as one HTML page: an explanation goes in, a text that needs nothing else comes out.

Nothing is loaded and no script runs: the policy in the page itself allows its one style and forbids the rest. All that
comes from the log is escaped, so what an agent wrote is shown and never acted on.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from itertools import groupby

import orjson

from qpubus.show import json_bytes, printable, utc
from replay.explain import Explanation, Line
from replay.proofs import Proof
from schemas import events as e
from schemas.keys import key_id
from schemas.manifest import circuit_text
from schemas.words import Event, wire_name

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--paper:#fff;--panel:#f5f7f9;
--good:#0b6b3a;--bad:#b3261e;--key:#0b5394}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a2abb5;--line:#39424d;--paper:#14181d;--panel:#1c2229;
--good:#63c58f;--bad:#ff8a80;--key:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.1rem;margin:2.5rem 0 .75rem}
p{margin:.25rem 0}
.soft,time{color:var(--soft)}
.verdict{display:inline-block;margin:1rem 0;padding:.4rem .8rem;border-radius:.4rem;border:2px solid currentColor;
font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}
ol{list-style:none;margin:0;padding:0}
.short li{padding:.35rem 0;border-bottom:1px solid var(--line)}
.chain>li{margin:0 0 0 .5rem;padding:0 0 1.25rem 1.25rem;border-left:2px solid var(--line);position:relative}
.chain>li::before{content:"";position:absolute;left:-.42rem;top:.5rem;width:.7rem;height:.7rem;border-radius:50%;
background:var(--paper);border:2px solid var(--soft)}
.chain>li.key::before{background:var(--key);border-color:var(--key)}
.chain>li.broken::before{background:var(--bad);border-color:var(--bad)}
.said{font-weight:600}
time,code,pre{font-family:ui-monospace,monospace;font-size:.82rem}
dl{display:grid;grid-template-columns:minmax(7rem,12rem) 1fr;gap:.15rem 1rem;margin:.5rem 0;font-size:.92rem}
dt{color:var(--soft)}dd{margin:0}
@media (max-width:34rem){dl{grid-template-columns:1fr}dd{margin-bottom:.35rem}}
summary{cursor:pointer;color:var(--soft);font-size:.88rem}
pre{background:var(--panel);padding:.75rem;border-radius:.4rem;white-space:pre-wrap;margin:.5rem 0}
.proofs{font-size:.88rem}
@media print{main{max-width:none}details>summary{list-style:none}.chain>li{break-inside:avoid}}
"""
_POLICY = "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
_SHORT = tuple(
    wire_name(each)
    for each in (
        e.IntentDeclared, e.IntentWithdrawn, e.TraceSealed, e.ApprovalRequested, e.ApprovalGranted, e.ApprovalDenied,
        e.IntentAdmitted, e.IntentRefused, e.PlacementDecided, e.RunCancelDecided, e.ResultRecorded, e.BudgetCaptured,
        e.JobCompleted, e.JobFailed, e.JobCancelled, e.ReproductionMeasured,
    )
)  # fmt: skip
"""What a reader in a hurry wants to know: who wanted it, who allowed it, where it ran, what came of it."""
_OPEN = wire_name(e.ApprovalRequested)
"""Of this the whole text is the point: a person put their name to it."""
_CHUNK = wire_name(e.ShotsMeasured)


def page(explained: Explanation, events: Sequence[Event], roots: Mapping[str, bytes]) -> str:
    """The page; `events` are those behind the lines, in the same order, `roots` what they were checked by."""
    digest = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
    title = f"{explained.job_id} at {explained.site}"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY.format(digest))}">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><main>",
            *_head(explained, title, key_id(roots[explained.site])),
            "<h2>In short</h2>",
            *_short(explained.lines),
            "<h2>Event by event</h2>",
            "<p class=soft>Each event stands after its causes. Times are those that its author signed, in UTC.</p>",
            "<ol class=chain>",
            *_chain(list(zip(explained.lines, events, strict=True))),
            "</ol>",
            *_passed_over(explained),
            *_policies(events),
            "</main></body></html>\n",
        )
    )


def _head(explained: Explanation, title: str, root: str) -> Iterator[str]:
    holds = explained.holds
    said = "all hold" if holds else "NOT ALL HOLD"
    yield f"<h1>{_text(title)}</h1>"
    yield "<p class=soft>What happened to this job, by the signed events of its log.</p>"
    yield (
        f'<p class="verdict {"good" if holds else "bad"}">'
        f"{len(explained.lines)} events, {explained.signatures} signatures checked: {said}</p>"
    )
    yield f"<p class=soft>Checked by the root key <code>{_text(root)}</code>.</p>"


def _passed_over(explained: Explanation) -> Iterator[str]:
    if explained.passed_over:
        yield "<h2>Passed over by the stage in charge</h2><ol class=short>"
        yield from (f"<li>{_text(each)}</li>" for each in explained.passed_over)
        yield "</ol>"


def _policies(events: Sequence[Event]) -> Iterator[str]:
    """The rules in force, whole; what their words mean stands in the schema that they were held to."""
    for event in events:
        if isinstance(event, e.PolicyPublished) and event.rules:
            yield f"<h2>The rules of policy {_text(event.policy_id)}</h2><pre>{_text(event.rules, lines=True)}</pre>"
            yield "<details><summary>the schema of these rules</summary>"
            yield f"<pre>{_text(event.rules_schema, lines=True)}</pre></details>"


def _short(lines: Sequence[Line]) -> Iterator[str]:
    yield "<ol class=short>"
    for line in lines:
        if line.event_type in _SHORT:
            yield f"<li>{_time(line)} {_text(line.sentence)}</li>"
    yield "</ol>"


def _chain(told: Sequence[tuple[Line, Event]]) -> Iterator[str]:
    for is_chunks, group in groupby(told, key=lambda each: each[0].event_type == _CHUNK):
        each = list(group)
        if is_chunks and len(each) > 1:
            yield from _chunks([line for line, _ in each])
        else:
            for line, event in each:
                yield from _item(line, event)


def _chunks(lines: Sequence[Line]) -> Iterator[str]:
    """Chunks follow each other by the hundred: they are folded, unless a signature does not hold."""
    broken = any(not proof.holds for line in lines for proof in line.proofs)
    yield f"<li{' class=broken' if broken else ''}>{_time(lines[0])}"
    yield f"<p class=said>{len(lines)} chunks of shots, up to: {_text(lines[-1].sentence)}</p>"
    yield f"<details{' open' if broken else ''}><summary>each of them, with its signature</summary><ol>"
    for line in lines:
        yield f"<li>{_time(line)} {_text(line.sentence)}<br>{_proofs(line.proofs)}</li>"
    yield "</ol></details></li>"


def _item(line: Line, event: Event) -> Iterator[str]:
    broken = any(not proof.holds for proof in line.proofs)
    kind = " class=broken" if broken else " class=key" if line.event_type in _SHORT else ""
    yield f"<li{kind}>{_time(line)}<p class=said>{_text(line.sentence)}</p>"
    if line.details:
        yield "<dl>"
        for name, text in line.details:
            told = f"<pre>{_text(text, lines=True)}</pre>" if "\n" in text else _text(text)
            yield f"<dt>{_text(name)}</dt><dd>{told}</dd>"
        yield "</dl>"
    yield f"<p class=proofs>{_proofs(line.proofs)}</p>"
    place = f"{line.topic} partition {line.partition} offset {line.offset}"
    is_open = " open" if line.event_type == _OPEN else ""
    name = line.event_type.removeprefix("qpubus.")
    yield f"<details{is_open}><summary>{_text(name)} of {_text(line.source)}, {_text(place)}</summary>"
    if line.causes:
        yield f"<p class=soft>because of {_text(', '.join(line.causes))}</p>"
    for title, text in _circuits(event):
        yield f"<p class=soft>{_text(title)}</p><pre>{_text(text, lines=True)}</pre>"
    yield f"<pre>{_text(_whole(event), lines=True)}</pre></details></li>"


def _whole(event: Event) -> str:
    """All fields of an event, bytes in hex; the rules of a policy stand at the end of the page."""
    left_out = {"rules", "rules_schema"} if isinstance(event, e.PolicyPublished) and event.rules else set[str]()
    return json_bytes(event.model_dump(exclude=left_out), orjson.OPT_INDENT_2).decode()


def _circuits(event: Event) -> Iterator[tuple[str, str]]:
    """The circuits that an intent declares, as OpenQASM; what it declares stands there in base64."""
    if isinstance(event, e.IntentDeclared):
        for template in event.manifest.quantum.templates():
            yield f"circuit {template.name}", circuit_text(template.circuit)


def _proofs(proofs: Sequence[Proof]) -> str:
    """Whose signatures hold, and of one that does not, why."""
    return " · ".join(
        f"<span class=good>✓ {_text(proof.kind)}</span> of {_text(proof.by)}"
        if proof.holds
        else f"<span class=bad>✗ {_text(proof.kind)}, key {_text(proof.key_id)}, DOES NOT HOLD: "
        f"{_text(proof.detail)}</span>"
        for proof in proofs
    )


def _time(line: Line) -> str:
    return f"<time>{_text(utc(line.time_us))}</time>"


def _text(text: str, *, lines: bool = False) -> str:
    """A text from anywhere as the content of an element, without signs that turn the direction of writing."""
    return escape(printable(text, lines=lines))
