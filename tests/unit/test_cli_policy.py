"""`policy`: written by people, checked before it goes live, tried on real history, published with a signature."""

import shutil
from pathlib import Path

import pytest

from qpubus.policy_set import BUILT_IN, PolicySet, built_in, check
from tests.support.commands import Done, qpubus

SETS = ("first-poc", "bank", "lab")
PERMIT = '@id("all")\npermit (principal, action == Action::"run", resource);\n'
SCOPE = '(principal, action == Action::"run", resource)'


@pytest.fixture(autouse=True)
def _state_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    assert qpubus("init", "--data", tmp_path / "data").code == 0
    return tmp_path / "data"


def written(folder: Path, rules: str, settings: str = "", examples: str = "") -> Path:
    """A policy's files: these rules, and what the first set has where nothing else is given."""
    folder.mkdir(exist_ok=True)
    (folder / "own.cedar").write_text(rules)
    (folder / "own.toml").write_text(settings or (BUILT_IN / "first-poc.toml").read_text())
    if examples:
        (folder / "own.examples.toml").write_text(examples)
    return folder / "own.cedar"


def faults(done: Done) -> list[tuple[str, int, str]]:
    assert done.code == 1
    return [(each["file"], each["line"], each["reason"]) for each in done.json["findings"]]


@pytest.mark.parametrize("name", SETS)
def test_the_sets_that_come_with_us_hold(name: str) -> None:
    done = qpubus("policy", "check", name, "--json")
    assert (done.code, done.json["holds"]) == (0, True)


@pytest.mark.parametrize("name", SETS)
def test_every_rule_of_a_set_is_decisive_in_an_example(name: str) -> None:
    policy = built_in(name)
    decisive = {rule for example in policy.examples for rule in example.rules or ()}
    without = [f'@id("{rule}")' for rule in _rule_ids(policy) if rule not in decisive and not _is_missed(policy, rule)]
    assert without == []


def _rule_ids(policy: PolicySet) -> list[str]:
    return [line.split('"')[1] for line in policy.rules.splitlines() if line.startswith("@id(")]


def _is_missed(policy: PolicySet, rule: str) -> bool:
    """Whether an example fails without a rule."""
    head, _, tail = policy.rules.partition(f'@id("{rule}")')
    return bool(check(PolicySet(policy.name, policy.settings, head + tail.partition(";")[2], policy.examples)))


class TestAPolicyIsRefused:
    def test_with_the_line_of_a_rule_that_contradicts_the_schema(self, tmp_path: Path) -> None:
        rules = f'{PERMIT}\n@id("x")\n@message("m")\nforbid {SCOPE}\nwhen {{ context.colour == "red" }};\n'
        [(file, line, reason)] = faults(qpubus("policy", "check", written(tmp_path, rules), "--json"))
        assert (file, line) == ("own.cedar", 4)
        assert "`colour`" in reason

    def test_with_the_line_of_what_cedar_cannot_read(self, tmp_path: Path) -> None:
        rules = f'{PERMIT}\n// a comment; with a semicolon\n@id("x")\nforbid (principal;\n'
        [(_, line, reason)] = faults(qpubus("policy", "check", written(tmp_path, rules), "--json"))
        assert (line, reason) == (5, "unexpected token `;`")

    @pytest.mark.parametrize(
        "when",
        ["", "when { context.hour < 24 }", "when { context.costMicrousd >= 0 } unless { context.shots < 0 }"],
        ids=["always", "every-hour", "every-price"],
    )
    def test_that_would_lock_everybody_out(self, tmp_path: Path, when: str) -> None:
        rules = f'{PERMIT}\n@id("x")\n@message("m")\nforbid {SCOPE} {when};\n'
        [(_, line, reason)] = faults(qpubus("policy", "check", written(tmp_path, rules), "--json"))
        assert (line, "everybody would be locked out" in reason) == (4, True)

    def test_whose_ladder_is_none(self, tmp_path: Path) -> None:
        text = (BUILT_IN / "first-poc.toml").read_text()
        falling = text.replace("price_limit_microusd = 500_000_000", "price_limit_microusd = 50_000_000")
        assert (
            "each step must let a higher price pass"
            in qpubus("policy", "check", written(tmp_path, PERMIT, falling)).err
        )
        endless = text.replace("floor_microusd = 1_000_000_000", "floor_microusd = 1")
        assert "above floor_microusd" in qpubus("policy", "check", written(tmp_path, PERMIT, endless)).err

    def test_that_names_no_device(self, tmp_path: Path) -> None:
        settings = (BUILT_IN / "first-poc.toml").read_text().partition("[devices")[0] + "[devices]\n"
        [(file, _, reason)] = faults(qpubus("policy", "check", written(tmp_path, PERMIT, settings), "--json"))
        assert (file, "no device" in reason) == ("own.toml", True)

    @pytest.mark.parametrize(
        ("example", "told"),
        [
            ('verdict = "refuse"', "it should be refuse, the rules say admit by all"),
            ('verdict = "admit"\nrules = ["other"]', "it should be decided by other"),
            ('verdict = "admit"\ncontext = { colour = 1 }', "a context has no colour"),
            ('verdict = "admit"\ncontext = { hour = "noon" }', "hour must be a int"),
            ('verdict = "admit"\ndevices = ["elsewhere"]', "elsewhere is no device"),
            ('verdict = "admit"\non = ["cloud-heron-1"]', "it should run on cloud-heron-1"),
            ('verdict = "admit"\ngate = "human:1"', "the gate should be human:1, it is none"),
        ],
        ids=["verdict", "rules", "unknown", "type", "device", "on", "gate"],
    )
    def test_whose_example_comes_out_otherwise(self, tmp_path: Path, example: str, told: str) -> None:
        path = written(tmp_path, PERMIT, examples=f'[[example]]\nname = "one"\n{example}\n')
        [(file, _, reason)] = faults(qpubus("policy", "check", path, "--json"))
        assert (file, told in reason) == ("own.examples.toml", True), reason

    def test_where_its_files_are_not_what_they_should_be(self, tmp_path: Path) -> None:
        path = written(tmp_path, PERMIT, settings="policy_id = \n")
        assert "line 1" in qpubus("policy", "check", path).err
        (tmp_path / "own.toml").write_text("hurry = true\n" + (BUILT_IN / "first-poc.toml").read_text())
        assert "hurry: there is no such field" in qpubus("policy", "check", path).err
        (tmp_path / "own.toml").unlink()
        assert "the settings stand beside the rules" in qpubus("policy", "check", path).err
        assert "there is no policy nowhere" in qpubus("policy", "check", "nowhere").err

    def test_at_publishing_and_nothing_is_appended(self, tmp_path: Path, data: Path) -> None:
        before = qpubus("policy", "list", "--data", data, "--json").json
        path = written(tmp_path / "own", f'{PERMIT}@id("x")\n@message("m")\nforbid {SCOPE};\n')
        done = qpubus("policy", "publish", path, "--data", data)
        assert (done.code, "own.cedar:3" in done.err) == (1, True)
        assert qpubus("policy", "list", "--data", data, "--json").json == before


class TestAPolicyIsPublished:
    def test_and_is_in_force_from_then_on(self, data: Path) -> None:
        assert qpubus("policy", "publish", "bank", "--data", data).code == 0
        listed = qpubus("policy", "list", "--data", data, "--json").json
        assert [(each["policy_id"], each["in_force"]) for each in listed] == [("first-poc", False), ("bank", True)]

    def test_with_a_note_on_gates_that_nobody_here_could_open(self, data: Path) -> None:
        told = qpubus("policy", "publish", "bank", "--data", data, "--json").json["lacking_people"]
        assert any("2 persons, 1 approvers" in each for each in told)
        new = data / "keys" / "ada.pem"
        assert qpubus(
            "keys", "enrol", "approver:ada", "approver", "--new", new, "--duty", "security", "--duty", "finance",
            "--data", data,
        ).code == 0  # fmt: skip
        assert qpubus("policy", "publish", "bank", "--data", data, "--json").json["lacking_people"] == []

    def test_by_a_directory_of_its_own(self, tmp_path: Path, data: Path) -> None:
        folder = tmp_path / "ours"
        folder.mkdir()
        for path in BUILT_IN.glob("lab.*"):
            shutil.copy(path, folder)
        assert qpubus("policy", "publish", folder, "--data", data).code == 0
        shown = qpubus("policy", "show", "--data", data)
        assert "rehearsed-work-runs" in shown.out
        assert "emulator-garnet-1" in shown.out

    def test_by_no_key_that_may_not_govern(self, data: Path) -> None:
        done = qpubus("policy", "publish", "bank", "--key", data / "keys" / "agent.pem", "--data", data)
        assert "may not govern" in done.err


def test_an_older_policy_is_shown_by_its_digest(data: Path) -> None:
    assert qpubus("policy", "publish", "bank", "--data", data).code == 0
    first = qpubus("policy", "list", "--data", data, "--json").json[0]["digest"]
    assert qpubus("policy", "show", first[:8], "--data", data, "--json").json["policy_id"] == "first-poc"
    assert "no policy with the digest" in qpubus("policy", "show", "ffffffff", "--data", data).err
