"""The front doors over HTTP, and the desk that all doors share: what a caller may ask, and what it gets."""
