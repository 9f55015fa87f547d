"""What a topic of the ledger must be set to, so that no history is lost; brokers are set up and checked by it."""

from schemas.envelope import HEADER_BYTES_MAX, VALUE_BYTES_MAX

MESSAGE_BYTES_MAX = 2 * VALUE_BYTES_MAX + 4 * HEADER_BYTES_MAX
"""The largest batch that a broker takes: one record of the largest value with its headers fits, whatever frames it."""

LEDGER = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": str(MESSAGE_BYTES_MAX),
    "compression.type": "uncompressed",
}
"""The settings of each topic. Nothing is ever deleted or compacted away, and append times are the broker's own, so
nobody erases history by dating a record back."""
