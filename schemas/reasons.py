"""Reason codes: why a stage refused, failed or stopped something. A code never changes, its sentence may.

Codes of records that are not believed at all stand in `schemas.admission` and `schemas.envelope`.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A stable code and what it means."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Make a member that is its code and carries its sentence."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    @classmethod
    def of(cls, code: str) -> "Reason":
        """The reason of a code."""
        return cls.__members__[code.upper()]

    # Policy refuses an intent.
    JOB_REPEATED = "job_repeated", "The job id was used before; declare a new one."
    MANIFEST_ALTERED = "manifest_altered", "The manifest is not the one that the agent signed."
    SITE_FOREIGN = "site_foreign", "The manifest names another site than the one it was declared at."
    AGENT_UNKNOWN = "agent_unknown", "The agent's key is not enrolled for the initiator, or was revoked."
    AGENT_PROOF_INVALID = "agent_proof_invalid", "The agent's signature does not hold."
    POLICY_MISSING = "policy_missing", "No policy has been published for this site."
    PRICE_UNKNOWN = "price_unknown", "No device on which the job may run has a price."
    DEVICE_NOT_ALLOWED = "device_not_allowed", "Policy and manifest have no device in common."
    SHOTS_ABOVE_DEVICE = "shots_above_device", "More shots of one circuit are asked for than the device takes."
    SHOTS_OVER_BUDGET = "shots_over_budget", "One run needs more shots than the job's own budget has."
    SHOTS_OVER_POLICY = "shots_over_policy", "The job's shots are more than policy lets one job have."
    PRICE_OVER_POLICY = "price_over_policy", "The job's price ceiling is higher than policy lets one job have."
    ITERATIONS_OVER_POLICY = "iterations_over_policy", "The loop may run more often than policy lets one job."
    BUDGET_TOO_SMALL = "budget_too_small", "The job's price ceiling does not pay for one run on the cheapest device."
    BUDGET_EXHAUSTED = "budget_exhausted", "The site's budget has less left than the job's price ceiling."
    PROJECT_FOREIGN = "project_foreign", "The agent's key is not enrolled for the project whose budget it names."
    RATE_EXCEEDED = "rate_exceeded", "The agent asks for more in an hour than policy allows."
    RULE_FORBIDS = "rule_forbids", "A rule of the policy forbids it, or none permits it."
    RULE_ERROR = "rule_error", "A rule of the policy could not be evaluated, which denies."
    POLICY_INVALID = "policy_invalid", "The rules of the policy in force do not hold to their schema, which denies."
    DEADLINE_PASSED = "deadline_passed", "The job's deadline has passed."
    DENIED = "denied", "A person said no."
    APPROVAL_EXPIRED = "approval_expired", "Nobody said yes in time."
    WITHDRAWN = "withdrawn", "The agent no longer wants the job."

    # Policy does not count a grant or a denial.
    APPROVAL_NOT_WAITING = "approval_not_waiting", "The job waits for no approval, or no longer."
    INTENT_OTHER = "intent_other", "The approval names another intent than the job's."
    APPROVER_UNKNOWN = "approver_unknown", "The key is not enrolled for this approver, or was revoked."
    APPROVER_IS_INITIATOR = "approver_is_initiator", "Nobody approves a job of their own."
    KEY_DEMO_ONLY = "key_demo_only", "A demonstration key approves nothing outside the demonstration."
    APPROVAL_PROOF_INVALID = "approval_proof_invalid", "The signature does not hold for this very statement."
    MORE_NEEDED = "more_needed", "More people are needed by now than were asked; the approval is asked for anew."
    POLICY_CHANGED = "policy_changed", "Policy changed since the approval was asked for; it is asked for anew."

    APPROVAL_REPEATED = "approval_repeated", "This person has said yes already; another person must."
    PRICES_CHANGED = "prices_changed", "Prices changed since the approval was asked for; it is asked for anew."
    SNAPSHOT_CHANGED = "snapshot_changed", "A device became another: firmware, compiler or topology; it is asked anew."
    MANDATE_KNOWN = "mandate_known", "A mandate of this id was granted before; choose another id."
    MANDATE_UNKNOWN = "mandate_unknown", "No mandate of this id is in force."

    AUTONOMY_UNPROPOSED = "autonomy_unproposed", "The log's evidence does not propose this step, or no longer."
    AUTONOMY_TOO_LONG = "autonomy_too_long", "Policy lets nobody ratify a step for so long."

    # Something that a person is said to have signed does not count.
    PERSON_UNKNOWN = "person_unknown", "No key in force of this person, in a role that may say this, has this id."
    PROOF_INVALID = "proof_invalid", "The person's signature does not hold for these very words."
    HALT_KNOWN = "halt_known", "A halt of this id was ordered before; choose another id."
    HALT_UNKNOWN = "halt_unknown", "No halt of this id is in force."
    HALT_OWN = "halt_own", "Whoever ordered a halt does not lift it; another person must."
    HALTED = "halted", "A person halted the site, the agent or the device."

    # The scheduler rules a device out.
    CHOSEN = "chosen", "The best score of all that may run the job."
    OUTSCORED = "outscored", "May run the job, with a lower score."
    NOT_ALLOWED = "not_allowed", "The job was not admitted to this device."
    NO_OFFER = "no_offer", "The device made no offer in time."
    OFFLINE = "offline", "The device is off line."
    DRAINING = "draining", "The device takes no new jobs."
    RETIRED = "retired", "The device is out of service for good."
    DOES_NOT_FIT = "does_not_fit", "The circuits do not fit the device."
    TOPOLOGY = "topology", "The device is of another kind than the job asks for."
    MIN_FIDELITY = "min_fidelity", "The lowest two-qubit fidelity on the qubits used is too low."
    MIN_SUCCESS = "min_success", "The predicted success of the compiled circuit is too low."
    SNAPSHOT_TOO_OLD = "snapshot_too_old", "The device's calibration is too old to judge by."
    PRICE_ABOVE_CEILING = "price_above_ceiling", "The run would cost more than the job's price ceiling."
    QUEUE_PAST_DEADLINE = "queue_past_deadline", "Waiting and running would end after the deadline."
    RESERVATION_REFUSED = "reservation_refused", "The device did not hold the slot that was asked for."
    RESERVATION_UNANSWERED = "reservation_unanswered", "The device did not answer the request for a slot in time."
    RESERVATION_EXPIRED = "reservation_expired", "The slot was not used in time, or was taken back."
    JOB_ENDED = "job_ended", "The job has ended and needs its slot no longer."

    # The orchestrator ends a job.
    NO_DEVICE = "no_device", "No device may run the job."
    CIRCUIT_NOT_APPROVED = "circuit_not_approved", "A program asked for a circuit or parameter that was not declared."
    SHOTS_OVER_CEILING = "shots_over_ceiling", "The job would need more shots than it was admitted with."
    PROPOSAL_OVERSIZED = "proposal_oversized", "A program asked for more circuits than one step can have."
    OUTPUT_MISSING = "output_missing", "A program ended without naming its output."
    STEP_FAILED = "step_failed", "A step could not be run to its end."
    STEP_SILENT = "step_silent", "Nothing was heard of the job for too long."
    OUTCOME_UNKNOWN = "outcome_unknown", "Nobody can say whether a step ran."
    CANCELLED = "cancelled", "The device stopped the run."

    # The guard stops a run; also `withdrawn`, `deadline_passed` and `shots_over_ceiling`.
    COST_OVERRUN = "cost_overrun", "The next shots would cost more than the job's price ceiling has left."
    FIDELITY_DROP = "fidelity_drop", "The canary circuits come out right too rarely."
