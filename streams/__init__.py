"""The stages: pure decisions over events, the log they stand on, and the worker that runs one over the other."""
