"""Client assertions that were used: each counts once, in this life of the gateway and in the next."""

from pathlib import Path

import apsw

_MAKE = "CREATE TABLE IF NOT EXISTS used (issuer TEXT, jti TEXT, ends_s REAL, PRIMARY KEY (issuer, jti)) WITHOUT ROWID"


class UsedAssertions:
    """A small file of names, each kept until its assertion would have expired anyway."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        self._connection.execute(_MAKE)

    def use(self, issuer: str, jti: str, ends_s: float, now_s: float) -> bool:
        """Note an assertion durably; False if it was used before."""
        self._connection.execute("DELETE FROM used WHERE ends_s < ?", (now_s,))
        self._connection.execute("INSERT OR IGNORE INTO used VALUES (?, ?, ?)", (issuer, jti, ends_s))
        return self._connection.changes() == 1

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()
