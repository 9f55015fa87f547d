"""The log: one port, and an engine for each place where it may lie."""
