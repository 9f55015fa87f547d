"""People at work, through the commands: keys of each kind, two persons, halts, mandates, budgets, and who is told."""

import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import orjson
import pytest

from qpubus.policy_set import BUILT_IN
from replay import standalone
from tests.support.browser import Browser
from tests.support.commands import Done, qpubus, running_bus

WAIT_S = 60.0
AGENT, RP_ID, ORIGIN = "agent:cowork:user-42", "lab.example", "https://lab.example"


class Site(NamedTuple):
    """A site with a running bus, on which a dear job needs two persons; its keys, and what was posted to people."""

    data: Path
    ssh: Path
    browser: Browser
    posts: list[dict[str, Any]]

    def key(self, name: str) -> Path:
        return self.data / "keys" / f"{name}.pem"

    def run(self, *arguments: str | Path, answer: str = "") -> Done:
        return qpubus(*arguments, "--data", self.data, answer=answer)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("people")
    data, posts = directory / "data", list[dict[str, Any]]()
    assert qpubus("init", "--data", data).code == 0
    rules = (BUILT_IN / "first-poc.cedar").read_text().replace("human:1", "human:2")
    (directory / "two.cedar").write_text(rules)
    (directory / "two.toml").write_text((BUILT_IN / "first-poc.toml").read_text().replace("first-poc", "two"))
    assert qpubus("policy", "publish", directory / "two.cedar", "--data", data).code == 0
    ssh = directory / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh], check=True)

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=hook.serve_forever, daemon=True).start()
    (directory / "secret").write_text("s" * 32)
    (directory / "secret").chmod(0o600)
    where = f"localhost:{hook.server_port}"
    (directory / "notify.toml").write_text(
        f'[webhook]\nallow = ["{where}"]\n[[person]]\nname = "approver:alice"\n'
        f'webhook = "http://{where}/alice"\nsecret_file = "secret"\n'
    )
    with running_bus(data, "off", "--notify", str(directory / "notify.toml")):
        until = time.monotonic() + WAIT_S
        while len(qpubus("devices", "--json", "--data", data).json) < 4:
            assert time.monotonic() < until, "the devices did not calibrate"
            time.sleep(0.1)
        found = Site(data, ssh, Browser(ORIGIN), posts)
        enrol_all(found, directory)
        yield found
    hook.shutdown()
    hook.server_close()


def enrol_all(site: Site, directory: Path) -> None:
    """An approver with an SSH key, and one with a passkey."""
    public = site.ssh.with_suffix(".pub")
    assert site.run("keys", "enrol", "approver:ssh", "approver", "--ssh", public, "--duty", "finance").code == 0
    options = site.run("keys", "passkey", "approver:passkey", "--relying-party", RP_ID).json
    file = directory / "registration.json"
    file.write_bytes(site.browser.create(options))
    enrolled = site.run("keys", "enrol", "approver:passkey", "approver", "--passkey", file, *PLACE)
    assert enrolled.code == 0, enrolled.err


PLACE = ("--relying-party", RP_ID, "--origin", ORIGIN)


def state_when(site: Site, job_id: str, *states: str) -> dict[str, Any]:
    until = time.monotonic() + WAIT_S
    while True:
        job: dict[str, Any] = site.run("job", job_id, "--json").json
        if job["state"] in states:
            return job
        assert time.monotonic() < until, f"{job_id} is {job['state']}, not {states}"
        time.sleep(0.05)


def submitted(site: Site, job_id: str, **changes: Any) -> None:
    manifest = orjson.loads((site.data / "examples" / "h2-vqe.json").read_bytes()) | {"job_id": job_id} | changes
    path = site.data / "examples" / f"{job_id}.json"
    path.write_bytes(orjson.dumps(manifest))
    assert site.run("submit", path).code == 0


def waiting(site: Site, job_id: str, **changes: Any) -> None:
    submitted(site, job_id, **changes)
    state_when(site, job_id, "awaiting_approval")


def test_two_persons_with_an_ssh_key_and_a_file_let_a_job_run(site: Site) -> None:
    waiting(site, "by-two")

    first = site.run("approve", "by-two", "--key", site.ssh, "--yes")
    second = site.run("approve", "by-two", "--key", site.key("approver"), "--yes")

    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    assert "1 of 2 persons have said yes" in first.out
    assert "may run" in second.out
    assert "has said yes         approver:ssh" in second.out or "approver:ssh" in second.out
    state_when(site, "by-two", "admitted", "placed", "reserved", "running", "completed")


def test_a_job_is_granted_by_signatures_made_elsewhere(site: Site, tmp_path: Path) -> None:
    waiting(site, "elsewhere")
    statement, public = tmp_path / "statement", site.ssh.with_suffix(".pub")

    written = site.run("approvals", "elsewhere", "--statement", statement, "--key", public)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "qpubus", "-f", site.ssh, statement], check=True)
    first = site.run("approve", "elsewhere", "--signature", f"{statement}.sig", "--key", public)
    assertion = tmp_path / "assertion.json"
    assertion.write_bytes(site.browser.get(statement.read_bytes(), RP_ID))
    second = site.run("approve", "elsewhere", "--signature", assertion)

    assert written.code == 0
    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    assert "may run" in second.out
    shown = [each for each in events(site, "ApprovalPresented") if each["job_id"] == "elsewhere"]
    assert [each["approver"] for each in shown] == ["approver:ssh"]


def events(site: Site, kind: str) -> list[dict[str, Any]]:
    lines = site.run("events", "--json").out.splitlines()
    return [each["event"] for each in map(orjson.loads, lines) if each.get("type") == kind]


def test_a_passkey_used_without_verifying_its_user_does_not_count(site: Site, tmp_path: Path) -> None:
    waiting(site, "unverified")
    statement, assertion = tmp_path / "statement", tmp_path / "assertion.json"
    site.run("approvals", "unverified", "--statement", statement)
    assertion.write_bytes(site.browser.get(statement.read_bytes(), RP_ID, verified=False))

    refused = site.run("approve", "unverified", "--signature", assertion)

    assert refused.code == 1
    assert "approval_proof_invalid" in refused.err


def test_a_denial_signed_elsewhere_is_over_its_reason(site: Site, tmp_path: Path) -> None:
    waiting(site, "denied")
    statement, public = tmp_path / "statement", site.ssh.with_suffix(".pub")
    written = site.run("approvals", "denied", "--statement", statement, "--deny", "--why", "too dear", "--key", public)
    assert written.code == 0, written.err
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "qpubus", "-f", site.ssh, statement], check=True)
    signed = ("--signature", f"{statement}.sig", "--key", public)

    other = site.run("deny", "denied", "--why", "too cheap", *signed)
    said = site.run("deny", "denied", "--why", "too dear", *signed)

    assert (other.code, said.code) == (1, 0)
    assert state_when(site, "denied", "refused")["message"] == "too dear"


def test_what_differs_from_the_last_job_is_shown(site: Site) -> None:
    waiting(site, "before")
    waiting(site, "after", purpose="VQE_poC:again")

    seen = site.run("approve", "after", "--key", site.key("approver"), answer="n\n").out

    assert "Other than this agent's last job, before (awaiting_approval)" in seen
    assert "VQE_poC:energy_minimization → VQE_poC:again" in seen
    assert "circuits" not in seen[seen.index("Other than") : seen.index("circuit 0")]
    assert "2 persons" in seen


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"verified": False}, "registration"),
        ({"origin": "https://evil.example"}, "registration"),
    ],
)
def test_a_passkey_that_was_registered_otherwise_is_not_enrolled(
    site: Site, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    options = site.run("keys", "passkey", "approver:other", "--relying-party", RP_ID).json
    browser = Browser(changes.get("origin", ORIGIN))
    (tmp_path / "r.json").write_bytes(browser.create(options, verified=changes.get("verified", True)))

    refused = site.run("keys", "enrol", "approver:other", "approver", "--passkey", tmp_path / "r.json", *PLACE)

    assert refused.code == 1
    assert told in refused.err


def test_a_passkey_that_one_person_registered_is_not_enrolled_for_another(site: Site, tmp_path: Path) -> None:
    options = site.run("keys", "passkey", "approver:ada", "--relying-party", RP_ID).json
    (tmp_path / "r.json").write_bytes(Browser(ORIGIN).create(options))

    refused = site.run("keys", "enrol", "approver:eve", "approver", "--passkey", tmp_path / "r.json", *PLACE)

    assert (refused.code, "no registration of a passkey for approver:eve" in refused.err) == (1, True)


def test_keys_of_each_kind_are_listed_as_what_they_are(site: Site) -> None:
    listed = {each["source"]: each for each in site.run("keys", "list", "--json").json}

    assert listed["approver:ssh"]["proof_type"] == "sshsig"
    assert listed["approver:ssh"]["duties"] == ["finance"]
    assert (listed["approver:passkey"]["proof_type"], listed["approver:passkey"]["algorithm"]) == ("webauthn", "ES256")
    assert listed["operator:bob"]["role"] == "operator"


def test_a_halted_agent_gets_nothing_admitted_until_another_person_resumes(site: Site) -> None:
    ordered = site.run("halt", "--agent", AGENT, "--why", "smoke", "--key", site.key("operator"), "--json")
    submitted(site, "while-halted")
    refused = state_when(site, "while-halted", "refused")
    halt_id = ordered.json["halt_id"]
    own = site.run("resume", halt_id, "--why", "toast", "--key", site.key("operator"))
    lifted = site.run("resume", halt_id, "--why", "toast", "--key", site.ssh)

    assert (ordered.code, refused["reason"]) == (0, "halted")
    assert (own.code, "halt_own" in own.err) == (1, True)
    assert lifted.code == 0, lifted.err
    assert site.run("halts", "--json").json == []
    assert [each["is_lifted"] for each in site.run("halts", "--all", "--json").json if each["halt_id"] == halt_id] == [
        True
    ]


def test_an_agent_s_key_halts_nothing(site: Site) -> None:
    refused = site.run("halt", "--site", "--why", "spite", "--key", site.key("agent"))

    assert (refused.code, "person_unknown" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("what", "code"), [(("--agent", "agent:nobody"), "agent:nobody"), (("--device", "toaster"), "toaster"), ((), "say")]
)
def test_a_halt_of_nothing_is_refused(site: Site, what: tuple[str, ...], code: str) -> None:
    refused = site.run("halt", *what, "--why", "smoke", "--key", site.key("operator"))

    assert (refused.code, code in refused.err) == (1, True)


def test_a_mandate_lets_jobs_run_unasked_until_it_is_revoked(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "mandate.toml"
    file.write_text(
        f'id = "nightly"\nagent = "{AGENT}"\npurposes = ["VQE_poC:nightly"]\ndevices = ["onprem-iontrap-1", '
        '"cloud-garnet-1", "cloud-heron-1", "cloud-bargain-1"]\ncost_per_job = 600\ncost_total = "1000.50"\n'
        'jobs = 1\nperiod = "1d"\nexpires = "30d"\n'
    )
    granted = site.run("mandate", "grant", file, "--key", site.ssh, "--yes")
    submitted(site, "nightly-1", purpose="VQE_poC:nightly")
    state_when(site, "nightly-1", "admitted", "placed", "reserved", "running", "completed")
    [listed] = site.run("mandate", "list", "--json").json
    submitted(site, "nightly-2", purpose="VQE_poC:nightly")
    state_when(site, "nightly-2", "awaiting_approval")
    revoked = site.run("mandate", "revoke", "nightly", "--why", "over", "--key", site.key("approver"))

    assert (granted.code, revoked.code) == (0, 0), (granted.err, revoked.err)
    assert (listed["state"], listed["jobs_in_period"]) == ("in force", 1)
    assert site.run("mandate", "list", "--json").json[0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("line", "told"),
    [("cost_total = 'much'", "cost_total"), ("expires = 'soon'", "expires"), ("colour = 'red'", "colour: there is no")],
)
def test_a_faulty_mandate_is_named_by_its_fault(site: Site, tmp_path: Path, line: str, told: str) -> None:
    said = {"agent": f"'{AGENT}'", "purposes": "['x']", "devices": "['d']", "cost_per_job": "1", "cost_total": "1"}
    said |= {"expires": "'1d'"} | {line.split(" = ", maxsplit=1)[0]: line.split(" = ")[1]}
    (tmp_path / "m.toml").write_text("\n".join(f"{name} = {value}" for name, value in said.items()))

    refused = site.run("mandate", "grant", tmp_path / "m.toml", "--key", site.ssh, "--yes")

    assert (refused.code, told in refused.err) == (1, True), refused.err


def test_a_day_s_budget_of_an_agent_is_set_and_shown(site: Site) -> None:
    part = ("--scope", "project", "--name", "h2")
    assert site.run("budget", "set", "12.50", *part, "--period", "day").code == 0

    [row] = [each for each in site.run("budget", "list", "--json").json if each["name"] == "h2"]

    assert (row["limit_microusd"], row["period"], row["free_microusd"]) == (12_500_000, "day", 12_500_000)
    assert site.run("budget", "set", "1", "--scope", "agent").code == 1
    assert site.run("budget", "set", "0.0000001").code == 1


def test_an_agent_is_enrolled_listed_and_disabled(site: Site, tmp_path: Path) -> None:
    assert site.run("agent", "enrol", "agent:new", "--new", tmp_path / "new.pem", "--project", "h2").code == 0
    [known] = [each for each in site.run("agent", "list", "--json").json if each["agent"] == "agent:new"]
    assert (known["state"], known["projects"]) == ("enabled", ["h2"])

    assert site.run("agent", "disable", "agent:new", "--why", "left").code == 0
    [known] = [each for each in site.run("agent", "list", "--json").json if each["agent"] == "agent:new"]
    assert known["state"] == "disabled"
    assert site.run("agent", "disable", "agent:new", "--why", "left").code == 1


def test_nothing_is_there_to_ratify_before_it_is_earned(site: Site) -> None:
    assert site.run("autonomy", "list", "--json").code == 0
    refused = site.run("autonomy", "ratify", AGENT, "--key", site.ssh, "--yes")
    assert (refused.code, "qpubus autonomy list" in refused.err) == (1, True)


def test_people_are_told_what_waits_while_the_bus_runs(site: Site) -> None:
    waiting(site, "told")

    until = time.monotonic() + WAIT_S
    while not [each for each in site.posts if each["job_id"] == "told"]:
        assert time.monotonic() < until, "nobody was told"
        time.sleep(0.05)

    [post] = [each for each in site.posts if each["job_id"] == "told"]
    assert (post["kind"], post["to"]) == ("approval", "approver:alice")


def test_the_log_with_all_of_this_verifies_and_explains(site: Site) -> None:
    verified = site.run("audit", "verify", "--json")
    explained = site.run("audit", "explain", "elsewhere", "--json")

    assert verified.code == 0, verified.out
    assert explained.code == 0, explained.out[-2000:]


def sealed_bundle(site: Site, job_id: str, directory: Path) -> standalone.Report:
    """What the stand-alone verifier says of a job's bundle, once a round of checkpoints has sealed all of it."""
    until = time.monotonic() + WAIT_S
    for attempt in range(1_000):
        file = directory / f"{attempt}.json"
        assert site.run("audit", "bundle", job_id, "-o", file).code == 0
        report = standalone.verify(file.read_bytes())
        if report.verdict == standalone.SOUND or time.monotonic() > until:
            return report
        time.sleep(0.5)
    raise AssertionError("it was tried too often")


def test_a_bundle_of_a_job_that_two_persons_granted_verifies_alone(site: Site, tmp_path: Path) -> None:
    report = sealed_bundle(site, "elsewhere", tmp_path)

    assert (report.verdict, report.findings) == (standalone.SOUND, [])
    told = [line.split("  ")[1] for line in report.story if "says yes" in line]
    assert told == ["approver:ssh says yes", "approver:passkey says yes"]
