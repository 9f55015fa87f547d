"""Each figure of the bench stands beside its reference."""

import os

import pytest

from qpubus.bench import MODULES, BenchUnknown, log_append, run


def test_a_figure_that_is_asked_for_comes_with_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_append, "BATCHES", 1)
    monkeypatch.setattr(log_append, "ROUNDS", 1)
    (figure,) = run(["log.append_sealed"])
    assert set(figure) == {"name", "value", "unit", "reference", "reference_value", "ratio"}
    assert figure["ratio"] == pytest.approx(figure["value"] / figure["reference_value"], abs=0.001)


def test_one_module_measures_all_its_figures_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_append, "BATCHES", 1)
    monkeypatch.setattr(log_append, "ROUNDS", 1)
    names = [name for name, module in MODULES.items() if module == "log_append"]
    assert [figure["name"] for figure in run(names)] == names


def test_a_bench_leaves_the_users_state_directory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/nowhere")
    monkeypatch.setattr(log_append, "BATCHES", 1)
    monkeypatch.setattr(log_append, "ROUNDS", 1)
    run(["log.append_sealed"])
    assert os.environ["XDG_STATE_HOME"] == "/nowhere"


def test_an_unknown_figure_is_told_which_there_are() -> None:
    with pytest.raises(BenchUnknown, match=r"no figure 'speed'; there are: log\.append_sealed,"):
        run(["speed"])
