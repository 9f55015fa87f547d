from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.devices.qasm import GATES_MAX, SOURCE_BYTES_MAX, CircuitInvalid, Template, parse_template

HEAD = "OPENQASM 3.0;\nqubit[2] q;\nbit[2] c;\n"
TAIL = "c = measure q;\n"


def test_a_template_keeps_parameters_gates_and_measurements() -> None:
    template = parse_template(
        'OPENQASM 3;\ninclude "stdgates.inc";\n// a comment\ninput float[64] theta;\nqubit[2] q;\nbit[2] c;\n'
        "h q;\nrx(-theta / 2 + pi) q[1]; /* another */ barrier q;\ncx q[0], q[1];\nmeasure q[0] -> c[1];\n"
        "c[0] = measure q[1];\n"
    )
    assert template.parameters == ("theta",)
    assert [(gate.name, gate.qubits) for gate in template.gates] == [
        ("h", (0,)),
        ("h", (1,)),
        ("rx", (1,)),
        ("cx", (0, 1)),
    ]
    assert template.measured == (1, 0)
    assert template.gates[2].angles[0].value({"theta": 1.0}, "here") == pytest.approx(-0.5 + 3.14159265, abs=1e-6)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 - 2 - 3", -4.0),
        ("2 * -3", -6.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("8 / 4 / 2", 1.0),
        ("1.5e-1", 0.15),
    ],
    ids=["left-to-right", "unary", "precedence", "brackets", "division", "exponent"],
)
def test_an_angle_has_its_usual_value(expression: str, value: float) -> None:
    template = parse_template(f"{HEAD}rx({expression}) q[0];\n{TAIL}")
    assert template.gates[0].angles[0].value({}, "here") == pytest.approx(value)


HOSTILE: dict[str, tuple[str | bytes, str, str]] = {
    "empty": ("", "version_missing", "line 1"),
    "old_version": ("OPENQASM 2.0; qubit q; bit c; c = measure q;", "version_unsupported", "line 1"),
    "include_path": (HEAD + 'include "/etc/passwd";\n' + TAIL, "include_refused", "line 4"),
    "not_utf8": (b"OPENQASM 3.0;\xff", "not_utf8", "byte 13"),
    "null_character": (HEAD + "x q[0];\0\n" + TAIL, "unexpected_character", "line 4"),
    "unknown_gate": (HEAD + "ccx q[0], q[1];\n" + TAIL, "gate_unknown", "line 4"),
    "loop": (HEAD + "for int i in [0:9] { x q[0]; }\n" + TAIL, "statement_unsupported", "line 4"),
    "branch": (HEAD + "if (c[0] == 1) x q[0];\n" + TAIL, "statement_unsupported", "line 4"),
    "reset": (HEAD + "reset q[0];\n" + TAIL, "statement_unsupported", "line 4"),
    "pragma": (HEAD + "#pragma braket noise\n" + TAIL, "unexpected_character", "line 4"),
    "gate_definition": (HEAD + "gate g a { x a; }\n" + TAIL, "statement_unsupported", "line 4"),
    "huge_register": ("OPENQASM 3.0; qubit[999999999] q; bit c;", "too_many_qubits", "line 1"),
    "endless_number": ("OPENQASM 3.0; qubit[" + "9" * 5_000 + "] q;", "too_many_qubits", "line 1"),
    "many_registers": ("OPENQASM 3.0;" + "".join(f"qubit[40] q{k};" for k in range(3)), "too_many_qubits", "line 1"),
    "many_parameters": ("OPENQASM 3.0;" + "".join(f"input float p{k};" for k in range(99)),
                        "too_many_parameters", "line 1"),
    "deep_brackets": (HEAD + "rx(" + "(" * 5_000 + "1" + ")" * 5_000 + ") q[0];\n" + TAIL,
                      "expression_too_deep", "line 4"),
    "deep_minus": (HEAD + "rx(" + "-" * 5_000 + "1) q[0];\n" + TAIL, "expression_too_deep", "line 4"),
    "unknown_name_in_angle": (HEAD + "rx(phi) q[0];\n" + TAIL, "angle_unreadable", "line 4"),
    "index_outside": (HEAD + "x q[2];\n" + TAIL, "index_out_of_range", "line 4"),
    "negative_index": (HEAD + "x q[-1];\n" + TAIL, "index_out_of_range", "line 4"),
    "same_qubit_twice": (HEAD + "cx q[0], q[0];\n" + TAIL, "qubit_repeated", "line 4"),
    "too_few_angles": (HEAD + "rx q[0];\n" + TAIL, "wrong_arguments", "line 4"),
    "gate_after_measure": (HEAD + TAIL + "x q[0];\n", "gate_after_measure", "line 5"),
    "measured_twice": (HEAD + TAIL + TAIL, "measured_twice", "line 5"),
    "bit_left_out": (HEAD + "c[0] = measure q[0];\n", "bit_never_measured", "bit 1"),
    "name_taken": ("OPENQASM 3.0; input float pi; qubit q; bit c; c = measure q;", "name_taken", "line 1"),
    "cut_off": (HEAD + "x q[0]", "unexpected_end", "line 4"),
    "integer_input": ("OPENQASM 3.0; input int n;", "input_type_unsupported", "line 1"),
}  # fmt: skip


@pytest.mark.parametrize("defect", sorted(HOSTILE))
def test_a_bad_circuit_is_refused_with_code_and_place(defect: str) -> None:
    source, reason, place = HOSTILE[defect]
    with pytest.raises(CircuitInvalid) as refused:
        parse_template(source)
    assert (refused.value.reason, refused.value.place) == (reason, place)


def test_source_and_gate_count_are_capped() -> None:
    with pytest.raises(CircuitInvalid, match="source_too_large"):
        parse_template(HEAD + " " * SOURCE_BYTES_MAX)
    assert len(parse_template(HEAD + "x q[0];" * GATES_MAX + TAIL).gates) == GATES_MAX
    with pytest.raises(CircuitInvalid, match="too_many_gates"):
        parse_template(HEAD + "x q[0];" * (GATES_MAX + 1) + TAIL)


@pytest.mark.parametrize(
    "expression", ["1 / 0", "1e300 * 1e300", "1 / (theta - theta)"], ids=["zero", "large", "parameter"]
)
def test_an_angle_without_a_value_is_refused_when_it_is_bound(expression: str) -> None:
    template = parse_template(f"OPENQASM 3.0; input float theta; qubit q; bit c; rx({expression}) q; c = measure q;")
    with pytest.raises(CircuitInvalid, match="angle_"):
        template.gates[0].angles[0].value({"theta": 1.0}, "line 1")


_words = st.sampled_from(
    ["OPENQASM", "3.0", ";", "qubit", "bit", "q", "c", "[", "]", "2", "0", "=", "measure", "->", "rx", "(", ")", "pi",
     "-", ",", "cx", "input", "float", "include", '"x"', "barrier", "\n", "h"]
)  # fmt: skip


@given(st.one_of(st.lists(_words, max_size=60).map(" ".join), st.text(max_size=200), st.binary(max_size=200)))
def test_any_text_gives_a_template_or_a_reasoned_refusal(source: str | bytes) -> None:
    prefixed = source if isinstance(source, bytes) else HEAD + source
    with suppress(CircuitInvalid):
        assert isinstance(parse_template(prefixed), Template)
