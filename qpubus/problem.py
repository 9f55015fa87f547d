"""What a user is told when something did not work: what, where, what to do next. An error goes in, words come out."""

import os
import traceback
from typing import TextIO

from pydantic import ValidationError

from qpubus.show import printable
from schemas.keys import KeyInvalid
from streams.author import SchemaUnpublished
from streams.log.port import LogCorrupt, LogError

EXIT_REFUSED, EXIT_CORRUPT = 1, 2
DEBUG = "QPUBUS_DEBUG"
_FAULTS_SHOWN = 3


class Problem(Exception):
    """Something a user can understand. `next_step` is what to do about it, `code` a stable word for programs."""

    def __init__(self, what: str, next_step: str = "", *, exit_code: int = EXIT_REFUSED, code: str = "failed") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.exit_code = exit_code
        self.code = code


def problem_of(error: Exception) -> Problem:
    """The problem behind an error. One of our own known kinds speaks for itself; any other is a defect, and says so."""
    match error:
        case Problem():
            return error
        case LogCorrupt():
            next_step = "Keep a copy as it is; find every such place with: qpubus audit verify --all"
            return Problem(str(error), next_step, exit_code=EXIT_CORRUPT, code="log_corrupt")
        case LogError() | KeyInvalid() | SchemaUnpublished():
            return Problem(str(error))
        case ValidationError():
            return Problem(validation_text(error), code="malformed")
        case ExceptionGroup(exceptions=[only]):
            return problem_of(only)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return Problem(f"{where}{error.strerror or error}")
        case _:
            what = f"this should not have happened: {type(error).__name__}: {error}"
            return Problem(what, f"For the details run the command again with {DEBUG}=1.", code="defect")


def validation_text(error: ValidationError) -> str:
    """The first faults that pydantic found, each with its place, in one line."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(map(str, fault['loc'])) or 'the document'}: {_fault_text(fault['type'], fault['msg'])}"
        for fault in faults[:_FAULTS_SHOWN]
    ]
    more = f" (and {len(faults) - _FAULTS_SHOWN} more)" if len(faults) > _FAULTS_SHOWN else ""
    return "; ".join(shown) + more


def tell(error: Exception, to: TextIO) -> int:
    """Write in one or two lines what went wrong and return the exit code; with QPUBUS_DEBUG set, the details first."""
    problem = problem_of(error)
    if os.environ.get(DEBUG):
        traceback.print_exception(error, file=to)
    print(f"error: {printable(problem.what)}", file=to)
    if problem.next_step:
        print(f"  next: {printable(problem.next_step)}", file=to)
    return problem.exit_code


def _fault_text(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field: leave it out"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
