"""Read an OpenQASM 3 template: a stranger's text goes in, a `Template` comes out, or `CircuitInvalid`.

The subset is what a variational circuit needs: `input float` or `input angle`, `qubit`, `bit`, standard gates,
`barrier` and `measure`. Nothing is imported, nothing is executed, nothing recurses without a bound.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

SOURCE_BYTES_MAX = 65_536
TOKENS_MAX = 16_384
GATES_MAX = 500
QUBITS_MAX = 64
PARAMETERS_MAX = 64
DEPTH_MAX = 16
ANGLE_MAX = 1e6

# name: (number of angles, number of qubits)
GATES: dict[str, tuple[int, int]] = {
    "id": (0, 1), "x": (0, 1), "y": (0, 1), "z": (0, 1), "h": (0, 1), "s": (0, 1), "sdg": (0, 1), "t": (0, 1),
    "tdg": (0, 1), "sx": (0, 1), "rx": (1, 1), "ry": (1, 1), "rz": (1, 1), "p": (1, 1), "phase": (1, 1), "u": (3, 1),
    "U": (3, 1), "u3": (3, 1), "cx": (0, 2), "CX": (0, 2), "cy": (0, 2), "cz": (0, 2), "cp": (1, 2), "swap": (0, 2),
    "rxx": (1, 2), "ryy": (1, 2), "rzz": (1, 2),
}  # fmt: skip


class CircuitInvalid(ValueError):
    """A circuit that cannot be run: `reason` is a stable code, `place` says where ("line 3", "parameter theta")."""

    def __init__(self, reason: str, place: str, detail: str = "") -> None:
        super().__init__(f"{reason} at {place}" + (f": {detail}" if detail else ""))
        self.reason = reason
        self.place = place
        self.detail = detail


@dataclass(frozen=True)
class Angle:
    """An angle in radians as written: postfix operations over numbers and parameter names."""

    postfix: tuple[float | str, ...]

    @property
    def is_constant(self) -> bool:
        """True if no parameter occurs, so that the value belongs to the template."""
        return not any(isinstance(item, str) and item not in (*_OPERATORS, _NEGATE) for item in self.postfix)

    def value(self, parameters: Mapping[str, float], place: str) -> float:
        """Return the angle; raises `CircuitInvalid` if it is not a finite number of a sane size."""
        stack: list[float] = []
        try:
            for item in self.postfix:
                if isinstance(item, float):
                    stack.append(item)
                elif item == _NEGATE:
                    stack.append(-stack.pop())
                elif item in _OPERATORS:
                    right, left = stack.pop(), stack.pop()
                    stack.append(_OPERATORS[item](left, right))
                else:
                    stack.append(parameters[item])
        except ZeroDivisionError:
            raise CircuitInvalid("angle_undefined", place, "division by zero") from None
        if not math.isfinite(stack[0]) or abs(stack[0]) > ANGLE_MAX:
            raise CircuitInvalid("angle_out_of_range", place)
        return stack[0]


@dataclass(frozen=True)
class GateCall:
    """One gate of the template on qubit numbers; `line` is where it stands."""

    name: str
    angles: tuple[Angle, ...]
    qubits: tuple[int, ...]
    line: int


@dataclass(frozen=True)
class Template:
    """A parsed circuit: `measured[k]` is the qubit read into classical bit k, bits numbered over all registers."""

    parameters: tuple[str, ...]
    qubits: int
    gates: tuple[GateCall, ...]
    measured: tuple[int, ...]


# Written so that no name can be one of them.
_NEGATE = "-1*"
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
}
# fmt: off
_UNSUPPORTED = frozenset({
    "angle", "array", "bool", "box", "break", "cal", "complex", "const", "continue", "creg", "ctrl", "def", "defcal",
    "defcalgrammar", "delay", "duration", "end", "extern", "float", "for", "gate", "gphase", "if", "int", "inv", "let",
    "negctrl", "opaque", "output", "pow", "qreg", "reset", "return", "stretch", "switch", "uint", "while",
})
# fmt: on
_CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e}
_TOKEN = re.compile(
    r"(?P<skip>[ \t\r]+|//[^\n]*|/\*.*?\*/)|(?P<newline>\n)|(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_πτ][A-Za-z0-9_]*)|(?P<text>\"[^\"\n]*\")|(?P<mark>->|[\[\]{}();,=+\-*/:<>!&|^%~@])",
    re.DOTALL,
)


def parse_template(source: bytes | str) -> Template:
    """Parse an OpenQASM 3 template; raises `CircuitInvalid` for whatever is outside the subset or its caps."""
    raw = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
    if len(raw) > SOURCE_BYTES_MAX:
        raise CircuitInvalid("source_too_large", "source", f"{len(raw)} bytes, at most {SOURCE_BYTES_MAX}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CircuitInvalid("not_utf8", f"byte {error.start}") from None
    return _Parser(_tokens(text)).template()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens one by one, so that of a text that is refused no more is read than up to its first fault."""
    line, position, count = 1, 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise CircuitInvalid("unexpected_character", f"line {line}", repr(text[position]))
        kind = str(match.lastgroup)
        if kind not in ("skip", "newline"):
            count += 1
            if count > TOKENS_MAX:
                raise CircuitInvalid("source_too_large", f"line {line}", f"more than {TOKENS_MAX} words and signs")
            yield _Token(kind, match.group(), line)
        line += match.group().count("\n")
        position = match.end()
    yield _Token("end", "end of source", line)


class _Parser:
    """A reader over tokens with one look ahead."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next = next(tokens)
        self._parameters: list[str] = []
        self._qubits: dict[str, range] = {}
        self._bits: dict[str, range] = {}
        self._gates: list[GateCall] = []
        self._measured: dict[int, int] = {}
        self._finished_qubits: set[int] = set()

    def template(self) -> Template:
        self._header()
        while self._peek().kind != "end":
            self._statement()
        bits = sum(len(bit_range) for bit_range in self._bits.values())
        if not bits or not self._qubits:
            raise CircuitInvalid("nothing_declared", "source", "a circuit needs qubits and bits")
        unmeasured = [bit for bit in range(bits) if bit not in self._measured]
        if unmeasured:
            raise CircuitInvalid("bit_never_measured", f"bit {unmeasured[0]}")
        return Template(
            parameters=tuple(self._parameters),
            qubits=sum(len(qubit_range) for qubit_range in self._qubits.values()),
            gates=tuple(self._gates),
            measured=tuple(self._measured[bit] for bit in range(bits)),
        )

    def _peek(self) -> _Token:
        return self._next

    def _take(self) -> _Token:
        token = self._next
        if token.kind == "end":
            raise CircuitInvalid("unexpected_end", f"line {token.line}")
        self._next = next(self._tokens)
        return token

    def _expect(self, text: str) -> _Token:
        token = self._take()
        if token.text != text:
            raise CircuitInvalid("unexpected_token", f"line {token.line}", f"{token.text!r} where {text!r} belongs")
        return token

    def _name(self) -> _Token:
        token = self._take()
        if token.kind != "name":
            raise CircuitInvalid("unexpected_token", f"line {token.line}", f"{token.text!r} where a name belongs")
        return token

    def _integer(self, ceiling: int, reason: str) -> int:
        token = self._take()
        if not re.fullmatch(r"\d{1,9}", token.text) or int(token.text) > ceiling:
            raise CircuitInvalid(reason, f"line {token.line}", f"{token.text[:20]!r}, at most {ceiling}")
        return int(token.text)

    def _header(self) -> None:
        version = self._peek()
        if version.text != "OPENQASM":
            raise CircuitInvalid("version_missing", f"line {version.line}", "the first statement is OPENQASM 3.0;")
        self._take()
        number = self._take()
        if number.text not in ("3", "3.0", "3.1"):
            raise CircuitInvalid("version_unsupported", f"line {number.line}", number.text[:20])
        self._expect(";")

    def _statement(self) -> None:
        token = self._name()
        match token.text:
            case "include":
                self._include()
            case "input":
                self._input()
            case "qubit":
                self._register(self._qubits, "too_many_qubits")
            case "bit":
                self._register(self._bits, "too_many_bits")
            case "barrier":
                while self._take().text != ";":
                    pass
            case "measure":
                qubits = self._operand(self._qubits, "qubit_unknown")
                self._expect("->")
                self._measure(qubits, self._operand(self._bits, "bit_unknown"), token.line)
                self._expect(";")
            case name if name in self._bits:
                bits = self._operand(self._bits, "bit_unknown", token)
                self._expect("=")
                self._expect("measure")
                self._measure(self._operand(self._qubits, "qubit_unknown"), bits, token.line)
                self._expect(";")
            case name if name in GATES:
                self._gate(name, token.line)
            case name:
                reason = "statement_unsupported" if name in _UNSUPPORTED else "gate_unknown"
                raise CircuitInvalid(reason, f"line {token.line}", repr(name[:40]))

    def _include(self) -> None:
        file = self._take()
        if file.text != '"stdgates.inc"':
            raise CircuitInvalid("include_refused", f"line {file.line}", "only stdgates.inc, which is built in")
        self._expect(";")

    def _input(self) -> None:
        kind = self._name()
        if kind.text not in ("float", "angle"):
            raise CircuitInvalid("input_type_unsupported", f"line {kind.line}", kind.text[:40])
        if self._peek().text == "[":
            self._take()
            self._integer(64, "input_type_unsupported")
            self._expect("]")
        self._parameters.append(self._fresh_name())
        if len(self._parameters) > PARAMETERS_MAX:
            raise CircuitInvalid("too_many_parameters", f"line {kind.line}", f"at most {PARAMETERS_MAX}")
        self._expect(";")

    def _fresh_name(self) -> str:
        token = self._name()
        taken = (*self._parameters, *self._qubits, *self._bits, *GATES, *_CONSTANTS)
        if token.text in taken:
            raise CircuitInvalid("name_taken", f"line {token.line}", token.text[:40])
        return token.text

    def _register(self, registers: dict[str, range], reason: str) -> None:
        size = 1
        if self._peek().text == "[":
            self._take()
            size = self._integer(QUBITS_MAX, reason)
            self._expect("]")
        line = self._peek().line
        name = self._fresh_name()
        start = sum(len(taken) for taken in registers.values())
        if size == 0 or start + size > QUBITS_MAX:
            raise CircuitInvalid(reason, f"line {line}", f"1 to {QUBITS_MAX}")
        registers[name] = range(start, start + size)
        self._expect(";")

    def _operand(self, registers: dict[str, range], reason: str, name: _Token | None = None) -> range:
        """A register or one of its places; `name` where its name has been taken already."""
        token = name or self._name()
        if token.text not in registers:
            raise CircuitInvalid(reason, f"line {token.line}", token.text[:40])
        whole = registers[token.text]
        if self._peek().text != "[":
            return whole
        self._take()
        index = self._integer(len(whole) - 1, "index_out_of_range")
        self._expect("]")
        return whole[index : index + 1]

    def _measure(self, qubits: range, bits: range, line: int) -> None:
        if len(qubits) != len(bits):
            raise CircuitInvalid("size_mismatch", f"line {line}", f"{len(qubits)} qubits into {len(bits)} bits")
        for qubit, bit in zip(qubits, bits, strict=True):
            if bit in self._measured or qubit in self._finished_qubits:
                raise CircuitInvalid("measured_twice", f"line {line}")
            self._measured[bit] = qubit
            self._finished_qubits.add(qubit)

    def _gate(self, name: str, line: int) -> None:
        angle_count, qubit_count = GATES[name]
        angles: list[Angle] = []
        if self._peek().text == "(":
            self._take()
            while self._peek().text != ")":
                angles.append(Angle(tuple(self._sum(0))))
                if self._peek().text != ")":
                    self._expect(",")
            self._take()
        operands = [self._operand(self._qubits, "qubit_unknown")]
        while self._peek().text == ",":
            self._take()
            operands.append(self._operand(self._qubits, "qubit_unknown"))
        self._expect(";")
        if len(angles) != angle_count or len(operands) != qubit_count:
            detail = f"{name} takes {angle_count} angles and {qubit_count} qubits"
            raise CircuitInvalid("wrong_arguments", f"line {line}", detail)
        for qubits in _broadcast(operands, line):
            self._append(GateCall(name, tuple(angles), qubits, line))

    def _append(self, call: GateCall) -> None:
        place = f"line {call.line}"
        if len(set(call.qubits)) != len(call.qubits):
            raise CircuitInvalid("qubit_repeated", place)
        if self._finished_qubits.intersection(call.qubits):
            raise CircuitInvalid("gate_after_measure", place)
        if len(self._gates) == GATES_MAX:
            raise CircuitInvalid("too_many_gates", place, f"at most {GATES_MAX}")
        self._gates.append(call)

    def _sum(self, depth: int) -> list[float | str]:
        postfix = self._product(depth)
        while self._peek().text in ("+", "-"):
            operator = self._take().text
            postfix += [*self._product(depth), operator]
        return postfix

    def _product(self, depth: int) -> list[float | str]:
        postfix = self._factor(depth)
        while self._peek().text in ("*", "/"):
            operator = self._take().text
            postfix += [*self._factor(depth), operator]
        return postfix

    def _factor(self, depth: int) -> list[float | str]:
        token = self._take()
        if depth > DEPTH_MAX:
            raise CircuitInvalid("expression_too_deep", f"line {token.line}", f"at most {DEPTH_MAX}")
        if token.text == "-":
            return [*self._factor(depth + 1), _NEGATE]
        if token.text == "+":
            return self._factor(depth + 1)
        if token.text == "(":
            inside = self._sum(depth + 1)
            self._expect(")")
            return inside
        if token.kind == "number":
            return [float(token.text)]
        if token.text in _CONSTANTS:
            return [_CONSTANTS[token.text]]
        if token.text in self._parameters:
            return [token.text]
        raise CircuitInvalid("angle_unreadable", f"line {token.line}", token.text[:40])


def _broadcast(operands: list[range], line: int) -> list[tuple[int, ...]]:
    """Spread registers over single gates, as OpenQASM does: equal lengths run side by side, length one repeats."""
    longest = max(len(operand) for operand in operands)
    if any(len(operand) not in (1, longest) for operand in operands):
        raise CircuitInvalid("size_mismatch", f"line {line}")
    return [
        tuple(operand[k] if len(operand) == longest else operand[0] for operand in operands) for k in range(longest)
    ]
