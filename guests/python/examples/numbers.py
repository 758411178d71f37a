"""A source of the numbers from 0 on, a record each. Its position is the number that comes next.

Configuration: `count` is how many there are (without it they never end), `batch` how many a poll brings (1).
"""

from millstream import Batch, Reject, config, on_open, record, source


@source
def poll(position: bytes | None) -> Batch:
    start = int(position or 0)
    end = min(start + setting("batch", 1), setting("count", 2**64 - 1))
    numbers = [record(None, str(number)) for number in range(start, end)]
    return Batch(numbers, position=str(max(start, end)), done=end >= setting("count", 2**64 - 1))


@on_open
def check() -> None:
    setting("count", 0), setting("batch", 1)


def setting(name: str, default: int) -> int:
    text = config.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise Reject(f"`{name}: {text}` is not a number")
    return int(text)
