"""Orders go on to `main`, large ones to `large` as well. An order's value is its amount in cents; its header `kind`
may say `test`, which goes nowhere, or `held`, which is to come a second time.

Configuration: `large` is the amount from which on an order is large (100000), `hold-ms` how long one is held
(without it, the stage's back-off).
"""

from millstream import Fault, Record, Reject, Retry, config, header, origin, record, stage


@stage
def route(key: bytes | None, value: bytes | None) -> list[Record]:
    if value is None:
        return [record(key, None)]
    order, kind = origin(), header("kind")
    if kind == b"test":
        return []
    if kind == b"held" and order.attempt == 1:
        raise Retry("the order is held", code="held", after_ms=setting("hold-ms", None))

    amount = number(value)
    if amount is None:
        raise Reject("the amount is not a number of cents", code="no-number")
    checked = [("checked", None), ("route", "main")]
    if amount < setting("large", 100_000):
        return [record(key, value, headers=checked)]
    large = record(
        b"plain" if kind is None else kind,
        value,
        output="large",
        # Those of a minute stand together.
        timestamp=None if order.timestamp is None else order.timestamp - order.timestamp % 60_000,
        headers=[("from", order.topic), ("from", f"{order.input}/{order.partition}@{order.offset}"), ("checked", None)],
        replace_headers=True,
    )
    return [record(key, value, headers=[*checked, ("route", "large")]), large]


def setting(name: str, default: int | None) -> int | None:
    if name not in config:
        return default
    if (value := number(config[name].encode())) is None:
        raise Fault(f"`{name}` is not a number", code="config")
    return value


def number(text: bytes) -> int | None:
    """Digits of ASCII alone, where `int` would take a sign and spaces as well; 15 of them are exact in any language."""
    return int(text) if text.isdigit() and len(text) <= 15 else None
