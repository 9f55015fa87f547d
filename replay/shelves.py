"""Where a published log lies: a directory that a web server shows, or S3 with Object Lock. Bytes go in under a path."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from streams.disk import put

_NO_OBJECT = {"NoSuchKey", "404"}
_IS_THERE = {"PreconditionFailed", "412"}


class ShelfProblem(Exception):
    """What was to be published is not, and why."""


class Shelf(Protocol):
    """A place for files. What was put there is durable when the call returns."""

    def get(self, path: str) -> bytes | None:
        """The bytes under a path; None if there are none."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Put bytes where nothing is, or the same bytes; `ShelfProblem` if there are others."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Put bytes where others may be."""
        ...


class DirectoryShelf:
    """A directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, path: str) -> bytes | None:
        """The bytes of a file."""
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, path: str, data: bytes) -> None:
        """Write a file that is not there yet."""
        known = self.get(path)
        if known is None:
            self.replace(path, data)
        elif known != data:
            raise ShelfProblem(f"{self._directory / path} was published with other bytes; publish elsewhere")

    def replace(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        target = self._directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target, data)


class LockedBucket:
    """A bucket of S3 with Object Lock: for so many days not even its owner can change or remove an object.

    What is replaced stays as an older version, locked like the rest.
    """

    def __init__(self, bucket: str, prefix: str, days: int) -> None:
        """Region, endpoint and credentials are boto3's own affair. `ShelfProblem` if the bucket locks nothing."""
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._days = days
        self._client: Any = boto3.client("s3")
        try:
            locking = self._client.get_object_lock_configuration(Bucket=bucket)
        except (ClientError, BotoCoreError) as error:
            raise ShelfProblem(
                f"the bucket {bucket} cannot lock objects ({error}); make one with Object Lock enabled"
            ) from None
        if locking["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise ShelfProblem(f"the bucket {bucket} cannot lock objects; make one with Object Lock enabled")

    def get(self, path: str) -> bytes | None:
        """The newest version of an object."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
            data: bytes = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_OBJECT:
                return None
            raise self._problem(path, error) from None
        except BotoCoreError as error:
            raise self._problem(path, error) from None
        return data

    def put(self, path: str, data: bytes) -> None:
        """Store an object that is not there yet."""
        try:
            self._store(path, data, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in _IS_THERE:
                raise self._problem(path, error) from None
            if self.get(path) != data:
                raise ShelfProblem(f"s3://{self._bucket}/{self._prefix}{path} was published with other bytes") from None
        except BotoCoreError as error:
            raise self._problem(path, error) from None

    def replace(self, path: str, data: bytes) -> None:
        """Store a new version of an object."""
        try:
            self._store(path, data)
        except (ClientError, BotoCoreError) as error:
            raise self._problem(path, error) from None

    def _store(self, path: str, data: bytes, **conditions: str) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._prefix + path,
            Body=data,
            ChecksumAlgorithm="SHA256",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=self._days),
            **conditions,
        )

    def _problem(self, path: str, error: Exception) -> ShelfProblem:
        return ShelfProblem(f"s3://{self._bucket}/{self._prefix}{path}: {error}")
