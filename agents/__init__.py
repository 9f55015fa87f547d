"""The parties: everything that holds a key and touches the world."""
