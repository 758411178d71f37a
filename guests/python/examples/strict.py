"""Puts a currency behind every value, and refuses to start with one that is wrong.

Configuration: `currency`, three capital letters.
"""

import re

from millstream import Reject, config, map_value, on_open


@on_open
def check() -> None:
    currency = config.get("currency", "")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise Reject(f"`currency: {currency}` is not three capital letters, as EUR is")


@map_value
def price(value: bytes) -> bytes:
    return value + b" " + config["currency"].encode()
