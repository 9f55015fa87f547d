"""Emulated quantum hardware: profiles, true drifting noise, calibrations, a compiler and each device's own ledger."""
