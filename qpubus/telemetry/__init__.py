"""What operators of a bus see of it: traces by OpenTelemetry, logs as JSON lines. Neither holds a secret."""
