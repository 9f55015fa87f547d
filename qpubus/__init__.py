"""The front doors, and the one place where real things are chosen and wired."""
