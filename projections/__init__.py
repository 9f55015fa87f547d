"""Read models and KPIs: each an initial value and a pure fold over the log."""
