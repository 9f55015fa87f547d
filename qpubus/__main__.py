"""`python -m qpubus` is the command `qpubus`."""

from qpubus.cli import main

if __name__ == "__main__":
    main()
