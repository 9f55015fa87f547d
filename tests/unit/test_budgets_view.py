from projections.budgets import BUDGETS
from schemas.events import BudgetCaptured, BudgetHeld, BudgetReleased, BudgetSet
from tests.support.telling import told

LIMIT = BudgetSet(limit_microusd=1_000)
HELD = BudgetHeld(job_id="a", amount_microusd=300)
CAPTURED = BudgetCaptured(job_id="a", amount_microusd=120, quantum_microusd=100, classical_microusd=20, shots=5)
RELEASED = BudgetReleased(job_id="a", amount_microusd=180)


def test_all_is_free_under_a_fresh_limit() -> None:
    assert told(BUDGETS, LIMIT).free_microusd == 1_000


def test_what_is_held_is_not_free() -> None:
    view = told(BUDGETS, LIMIT, HELD)
    assert (view.held_microusd, view.free_microusd) == (300, 700)


def test_a_capture_turns_held_into_spent() -> None:
    view = told(BUDGETS, LIMIT, HELD, CAPTURED)
    assert (view.held_microusd, view.spent_microusd, view.free_microusd) == (180, 120, 700)


def test_a_release_makes_the_rest_free_again() -> None:
    view = told(BUDGETS, LIMIT, HELD, CAPTURED, RELEASED)
    assert (view.held_microusd, view.spent_microusd, view.free_microusd) == (0, 120, 880)


def test_each_job_has_sums_of_its_own() -> None:
    view = told(BUDGETS, LIMIT, HELD, BudgetHeld(job_id="b", amount_microusd=50), CAPTURED)
    assert (view.jobs["a"].held_microusd, view.jobs["a"].spent_microusd, view.jobs["b"].held_microusd) == (180, 120, 50)


def test_a_later_limit_replaces_the_earlier_one() -> None:
    assert told(BUDGETS, LIMIT, HELD, BudgetSet(limit_microusd=200)).free_microusd == -100
