"""`qpubus worker`: what it says to who asks for what is not there."""

from pathlib import Path

import pytest

from tests.support.commands import qpubus


@pytest.mark.parametrize("stage", ["polizei", "gateway"])
def test_an_unknown_stage_is_a_usage_error_that_names_those_there_are(tmp_path: Path, stage: str) -> None:
    ran = qpubus("worker", stage, "--access", tmp_path, "--data", tmp_path)
    assert ran.code == 64
    assert "policy" in ran.err
    assert "views" in ran.err


def test_a_principal_without_an_access_file_is_named(tmp_path: Path) -> None:
    ran = qpubus("worker", "policy", "--access", tmp_path, "--data", tmp_path)
    assert ran.code == 1
    assert "policy.properties" in ran.err
