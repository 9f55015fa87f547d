import http.client
from urllib.parse import urlsplit

import orjson

from qpubus.kafka.registry import Registry


def asked(registry: Registry, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the registry's answer."""
    url = urlsplit(registry.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    try:
        connection.request(method, url.path + path, body, {"content-type": "application/vnd.schemaregistry.v1+json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_registry_keeps_a_schema_by_the_confluent_api(registry: Registry) -> None:
    schema = '{"type": "record", "name": "Said", "fields": []}'
    status, body = asked(registry, "POST", "/subjects/said-value/versions", orjson.dumps({"schema": schema}))
    assert status == http.client.OK
    _, kept = asked(registry, "GET", f"/schemas/ids/{orjson.loads(body)['id']}")
    assert orjson.loads(orjson.loads(kept)["schema"]) == orjson.loads(schema)


def test_a_registry_that_runs_answers(registry: Registry) -> None:
    assert registry.answers()
