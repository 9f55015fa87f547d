"""What a reader who trusts nobody does with the log: verify, explain, rebuild, decide again."""
