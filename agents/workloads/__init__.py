"""What agents ask the machines to compute."""
