#!/bin/bash
# The entry point of the broker's container: makes the storage where there is none, then becomes the broker.
set -euo pipefail
files=/run/secrets
if [ ! -f /var/lib/kafka/data/meta.properties ]; then
  /opt/kafka/bin/kafka-storage.sh format "@$files/format.arguments"
fi
exec /opt/kafka/bin/kafka-server-start.sh "$files/server.properties"
