"""`witness`: sees that logs only grow, and cosigns their checkpoints, where their operator cannot reach it."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.witness.server import witness_app
from agents.witness.store import StoreBroken, WitnessStore
from agents.witness.witness import Witness
from qpubus import show
from qpubus.keyfile import read_key, write_key
from qpubus.problem import Problem
from schemas.note import Kind, NoteInvalid, NoteKey, is_name, parse_key

DEFAULT_DIRECTORY = Path("qpubus-witness")


def witness(
    *,
    logs: Annotated[
        Path, typer.Option("--logs", metavar="FILE", help="The logs to watch, as `qpubus audit logs` shows them.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Your name: a URL without its scheme.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where the witness keeps its key and what it has cosigned.")
    ] = DEFAULT_DIRECTORY,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65_535, help="0: any free one.")] = 8_571,
) -> None:
    """Be a witness over HTTP (C2SP tlog-witness) until interrupted.

    It cosigns a checkpoint only if it is proved to continue the last one it cosigned of that log, and remembers it
    before it answers. Auditors fetch what it has cosigned from /checkpoints.
    """
    if not is_name(name):
        raise typer.BadParameter("a name has no blanks and no plus", param_hint="--name")
    watched = _logs(logs)
    try:
        store = WitnessStore(data)
    except StoreBroken as error:
        raise Problem(str(error)) from None
    try:
        asyncio.run(_serve(Witness(name, _key(data), watched, store, lambda: int(time.time())), host, port))
    finally:
        store.close()


def _logs(path: Path) -> Sequence[NoteKey]:
    """The keys in lines `log KEY`; empty lines and comments are passed over."""
    keys = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            key = parse_key(words[1]) if words[0] == "log" and len(words) in {2, 3} else None
        except NoteInvalid as error:
            raise Problem(f"{path} line {number}: {error}") from None
        if key is None or key.kind is not Kind.TEXT:
            raise Problem(f"{path} line {number}: not `log KEY`", "Take the lines that `qpubus audit logs` shows.")
        keys.append(key)
    if not keys:
        raise Problem(f"{path} names no log", "Take the lines that `qpubus audit logs` shows.")
    return keys


def _key(directory: Path) -> Ed25519PrivateKey:
    path = directory / "witness.pem"
    if not path.exists():
        write_key(path, Ed25519PrivateKey.generate())
    return read_key(path)


async def _serve(rules: Witness, host: str, port: int) -> None:
    runner = web.AppRunner(witness_app(rules, _report), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        address = f"http://{host}:{runner.addresses[0][1]}"
        print(f"The witness listens on {address}. Its line in a policy, under a name of your choice:")
        print(f"witness W1 {rules.key.text} {address}")
        sys.stdout.flush()
        stopped = asyncio.Event()
        for asked in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(asked, stopped.set)
        await stopped.wait()
    finally:
        await runner.cleanup()


def _report(line: str) -> None:
    print(show.printable(line), file=sys.stderr, flush=True)
