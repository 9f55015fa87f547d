"""A witness: sees that logs only grow, and says so. It belongs to somebody else than the logs it watches."""
