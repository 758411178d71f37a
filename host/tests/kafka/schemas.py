"""Confluent's own client for Python, before and behind a stage.

    schemas.py write BROKERS REGISTRY TOPIC SCHEMA FIRST LAST
    schemas.py compare BROKERS REGISTRY BEFORE BEHIND COUNT
"""

import json
import sys
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

# Without it the client asks for associations, which this registry does not know, and does not always answer.
NAMES = {"subject.name.strategy": topic_subject_name_strategy}
SINCE = datetime(2026, 1, 31, tzinfo=timezone.utc)


def order(number, fields):
    """An order, as far as its schema goes."""
    value = {
        "id": (1 << 53) + number,
        "state": ["NEW", "OLD"][number % 2],
        "price": Decimal(number * number - 1000).scaleb(-2),
        "weight": number / 7,
        "at": SINCE + timedelta(milliseconds=number * 977),
        "day": date(2026, 1, 1) + timedelta(days=number % 400),
        "code": uuid.UUID(int=number * 0x1234567890ABCDEF),
        "raw": bytes([number % 256, 0, 255]),
        "note": None if number % 3 else f"n\u00f6te \U0001f600 {number}",
        "items": [{"name": f"item {n}", "count": n - 1} for n in range(number % 4)],
        "tags": {"a": f"{number}"} if number % 2 else {},
        "paid": [None, {"card": f"{number}"}, {"iban": f"{number}", "bic": None}][number % 3],
        "more": number,
    }
    return {name: value[name] for name in fields}


def client(registry):
    return SchemaRegistryClient({"url": registry, "timeout": 30})


def write(brokers, registry, topic, schema, first, last):
    with open(schema, encoding="utf-8") as file:
        text = file.read()
    fields = [field["name"] for field in json.loads(text)["fields"]]
    serialize = AvroSerializer(client(registry), text, conf=NAMES)
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
    context = SerializationContext(topic, MessageField.VALUE)
    for number in range(int(first), int(last)):
        producer.produce(topic, key=str(number), value=serialize(order(number, fields), context))
        producer.poll(0)
    assert producer.flush(60) == 0


def read(brokers, topic, count):
    """The values of a topic by their keys."""
    settings = {"bootstrap.servers": brokers, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.subscribe([topic])
    values = {}
    while len(values) < count:
        message = consumer.poll(60)
        assert message is not None, f"only {len(values)} records came"
        assert message.error() is None, message.error()
        assert message.key() not in values, f"{message.key()} came twice"
        values[message.key()] = message.value()
    assert consumer.poll(1) is None, "there are more"
    consumer.close()
    return values


def compare(brokers, registry, before, behind, count):
    known = client(registry)
    values = [read(brokers, topic, int(count)) for topic in (before, behind)]
    deserializers = [AvroDeserializer(known, conf=NAMES) for _ in values]
    contexts = [SerializationContext(topic, MessageField.VALUE) for topic in (before, behind)]
    same_bytes = 0
    for key, value in values[0].items():
        other = values[1][key]
        first, second = (d(v, c) for d, v, c in zip(deserializers, (value, other), contexts))
        # What an older schema lacks has its default behind the stage.
        assert {name: second[name] for name in first} == first, (key, first, second)
        same_bytes += value[5:] == other[5:]
    print(f"{len(values[0])} equal, {same_bytes} to the byte")


{"write": write, "compare": compare}[sys.argv[1]](*sys.argv[2:])
