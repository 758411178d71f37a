"""The smallest stage: the value in upper case."""

from millstream import map_value


@map_value
def upper(value: bytes) -> bytes:
    return value.upper()
