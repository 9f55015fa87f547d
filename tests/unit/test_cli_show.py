"""What a person reads: money, times, numbers, and text from strangers."""

import pytest

from qpubus import show
from qpubus.tables import table


@pytest.mark.parametrize(
    ("microusd", "shown"),
    [
        (0, "$0.00"),
        (300_000, "$0.30"),
        (1_450, "$0.00145"),
        (1_234_567_890_000, "$1,234,567.89"),
        (-5_500_000, "-$5.50"),
    ],
    ids=["nothing", "cents", "less-than-a-cent", "much", "owed"],
)
def test_money_is_shown_to_the_last_micro_dollar(microusd: int, shown: str) -> None:
    assert show.usd(microusd) == shown


@pytest.mark.parametrize(
    ("us", "shown"),
    [
        (7, "7 µs"),
        (5_000, "5 ms"),
        (2_340_000, "2.34 s"),
        (150_000_000, "2 min"),
        (5_400_000_000, "90 min"),
        (9_000_000_000, "2 h 30 min"),
        (200_000_000_000, "2 d 7 h"),
    ],
)
def test_a_length_of_time_has_the_unit_people_would_use(us: int, shown: str) -> None:
    assert show.duration(us) == shown


def test_a_time_is_shown_in_utc() -> None:
    assert show.utc(1_768_737_600_000_000) == "2026-01-18 12:00:00Z"


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (-1.137306, 0.00048, "-1.13731 ± 0.00048"),
        (12.0, 1.5, "12.0 ± 1.5"),
        (300.0, 25.0, "300 ± 25"),
        (1.0, 0.0, "1.000000"),
    ],
)
def test_a_number_is_shown_to_two_digits_of_its_error(value: float, error: float, shown: str) -> None:
    assert show.number(value, error) == shown


@pytest.mark.parametrize(
    "steering",
    [
        "\x1b[2Jgone",
        "over\rwritten",
        "bell\x07",
        "\x9b31m",
        "\u202eyltsoc",
        "zero\u200bwidth",
        "two\u2028lines",
        "\ud800",
    ],
    ids=["escape", "return", "bell", "c1", "direction", "unseen", "separator", "surrogate"],
)
def test_text_from_strangers_cannot_steer_the_terminal(steering: str) -> None:
    shown = show.printable(steering, lines=True)

    assert shown.isprintable()
    assert "\\" in shown


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "VQE für H₂: ½·(θ − π), 日本語"

    assert show.printable(text) == text


def test_line_ends_stay_only_where_lines_are_wanted() -> None:
    assert show.printable("one\n\ttwo", lines=True) == "one\n\ttwo"
    assert show.printable("one\ntwo") == "one\\x0atwo"


def test_a_table_takes_markup_for_text(capsys: pytest.CaptureFixture[str]) -> None:
    table(("job",), [("[bold red]now[/bold red] :warning:",)])

    assert "[bold red]now[/bold red] :warning:" in capsys.readouterr().out


def test_no_line_is_broken_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    long = "why " * 100

    table(("why", "n"), [(long, "7")])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert long.strip() in lines[1]
    assert lines[1].rstrip().endswith("7")


def test_a_fact_without_a_value_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show.facts([("job", "a-1"), ("why", ""), ("state", "running")])

    assert capsys.readouterr().out == "job    a-1\nstate  running\n"
