"""What a stage or a source in Python is written against: a function between two topics, or in front of one.

    from millstream import map_value

    @map_value
    def upper(value):
        return value.upper()

That is a whole stage: it changes the value and lets everything else through, a record without a value too.
One that sees the key, filters, or gives several records, takes both:

    from millstream import Reject, record, stage

    @stage
    def split(key, value):
        if value is None:
            raise Reject("there is nothing to split", code="no-value")
        return [record(key, line, output="lines") for line in value.splitlines()]

What brings records into a topic is a source: see `source`.

What is printed goes to the host's log, and what the module `logging` is given as well.

The instance may be replaced between any two records, and a record may come twice: what a stage keeps in globals is a
cache, never the truth.
"""

import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, NoReturn

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config as _config
from wit_world.imports import log as _log
from wit_world.imports.types import (
    Failure_Fault,
    Failure_Reject,
    Failure_Retry,
    Header,
    HeaderEdit_Add,
    HeaderEdit_Keep,
    HeaderEdit_Replace,
    Later,
    Reason,
    Record,
)

__all__ = [
    "Batch", "Fault", "Origin", "Record", "Reject", "Retry",
    "config", "header", "headers", "map_value", "on_open", "origin", "record", "source", "stage",
]  # fmt: skip

type Bytes = bytes | str | None
"""A key or a value. None is not the same as empty: a record without a value is a tombstone. A text goes as UTF-8."""

type Given = tuple[Bytes, Bytes] | Record
"""What may be given for a record: a key and a value, or what `record` gives."""


class Failed(Exception):
    """What a stage raises on purpose. A code groups failures, as in `unknown-currency`."""

    def __init__(self, message: object, code: str | None = None):
        super().__init__(message)
        self.reason = Reason(_text("code", code), _sound(str(message)))


class Reject(Failed):
    """The record is wrong and always will be. In a source: nothing will ever come. On open: the configuration is."""


class Retry(Failed):
    """It may go through later: after that many milliseconds, or when the manifest says."""

    def __init__(self, message: object, code: str | None = None, after_ms: int | None = None):
        super().__init__(message, code)
        self.later = Later(self.reason, _whole("after_ms", after_ms, range(1 << 64)))


class Fault(Failed):
    """The stage's own code failed. Any other exception says the same."""


class Origin(NamedTuple):
    """Where the record in hand comes from."""

    topic: str
    """Its name at the broker."""
    input: str
    """The input's name in the manifest."""
    partition: int
    offset: int
    timestamp: int | None
    """Milliseconds since 1970."""
    attempt: int
    """1 at first, more when the record is tried again."""


class Batch(NamedTuple):
    """What a poll brings."""

    records: Iterable[Given] = ()
    position: Bytes = None
    """Handed to the next poll, and kept in one transaction with the records. None: unchanged."""
    done: bool = False
    """Nothing more will ever come. It is not kept: asked again after a restart, a source is done again."""


class _Config(Mapping[str, str]):
    """The configuration in the manifest, all of it texts."""

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name, default=None):
        if not _author.is_running:
            raise RuntimeError("there is no configuration while the stage is built: ask for it inside a function")
        value = _config.get(name)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in _config.all())

    def __len__(self) -> int:
        return len(_config.all())


config = _Config()


def origin() -> Origin:
    """Where the record in hand comes from."""
    return Origin(**vars(_context.origin()))


def headers() -> list[tuple[str, bytes | None]]:
    """The headers of the record in hand. Names may stand twice."""
    return [(header.name, header.value) for header in _context.headers()]


def header(name: str) -> bytes | None:
    """The value of the first header of that name."""
    return next((header.value for header in _context.headers() if header.name == name), None)


def record(
    key: Bytes,
    value: Bytes,
    *,
    headers: Iterable[tuple[str, Bytes]] = (),
    replace_headers: bool = False,
    output: str | None = None,
    partition: int | None = None,
    timestamp: int | None = None,
) -> Record:
    """A record to an output of the manifest, the first one by default. The input's headers and timestamp go along, and
    the key decides the partition. `headers` stand behind the input's or, with `replace_headers`, in their place."""
    pairs = [Header(_text("a header's name", name) or "", _bytes(value)) for name, value in headers]
    return Record(
        _bytes(key),
        _bytes(value),
        HeaderEdit_Replace(pairs) if replace_headers else HeaderEdit_Add(pairs) if pairs else _KEEP,
        _text("output", output),
        _whole("partition", partition, range(1 << 32)),
        _whole("timestamp", timestamp, range(-1 << 63, 1 << 63)),
    )


def stage[F: Callable[[bytes | None, bytes | None], None | Given | Iterable[Given]]](function: F) -> F:
    """Makes a stage of a function that takes a key and a value, and gives a record, several, or none."""
    _author.function = function
    return function


def map_value[F: Callable[[bytes], bytes | str]](function: F) -> F:
    """Makes a stage of a function of the value alone. A tombstone passes through, and none is made: that takes `stage`."""

    def map(key: bytes | None, value: bytes | None) -> Given:
        if value is None:
            return key, None
        mapped = function(value)
        if mapped is None:
            raise TypeError(f"{function.__name__} gives nothing: `return` a value; a tombstone takes @stage")
        return key, mapped

    _author.function = map
    return function


def source[F: Callable[[bytes | None], Batch]](function: F) -> F:
    """Makes a source of a function that takes the position, and gives the records behind it."""
    _author.function = function
    return function


def on_open[F: Callable[[], object]](function: F) -> F:
    """This function is called before the first record. `Reject` refuses the module with its words."""
    _author.open = function
    return function


class _Author:
    """What the author's file has said."""

    function: Callable | None = None
    open: Callable[[], object] | None = None
    is_running = False
    printed: "tuple[_Lines, ...]" = ()

    def run(self) -> None:
        """Before the first call: when this file is imported, the component is built, and there is no host."""
        self.is_running = True
        sys.stdout, sys.stderr = self.printed = _Lines(_log.Level.INFO), _Lines(_log.Level.ERROR)
        logging.basicConfig(handlers=[_Handler()], level=logging.NOTSET, format="%(message)s")

    def end(self) -> None:
        """When a call ends: what was printed is marked with its record."""
        for lines in self.printed:
            lines.flush()


_author = _Author()
_KEEP = HeaderEdit_Keep()


def _bytes(data: Bytes) -> bytes | None:
    if data is None or type(data) is bytes:
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"keys, values and those of headers are bytes, texts or None, not {type(data).__name__}")


# What is of a wrong type must not get any further: the runtime would end the instance without a word.


def _text(what: str, text: str | None) -> str | None:
    if text is None:
        return None
    if isinstance(text, str):
        return _sound(text)
    raise TypeError(f"{what} is a text, not {type(text).__name__}")


def _whole(what: str, number: int | None, span: range) -> int | None:
    if number is None or isinstance(number, int) and number in span:
        return number
    raise TypeError(f"{what} is a whole number from {span.start} to {span.stop - 1}, not {number!r}")


def _record(given: Given) -> Record:
    if isinstance(given, Record):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        key, value = given
        return Record(_bytes(key), _bytes(value), _KEEP, None, None, None)
    raise TypeError(f"what is given for a record is `record(…)`, or a key and a value, not {given!r}")


def _records(given) -> list[Record]:
    if given is None:
        return []
    # In a key and a value there is neither a record nor another pair.
    is_pair = isinstance(given, tuple) and given and not any(isinstance(one, (tuple, Record)) for one in given)
    if is_pair or isinstance(given, Record) or not isinstance(given, Iterable):
        return [_record(given)]
    return [_record(one) for one in given]


def _reason(error: BaseException) -> Reason:
    """That of an exception which nobody raised on purpose: its class and its words, and where in the author's code."""
    if isinstance(error, Failed):
        return error.reason
    place, step = "", error.__traceback__
    while step:
        file = step.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith(_LIBRARY):
            place = f" ({file.rsplit('/')[-1]}:{step.tb_lineno})"
        step = step.tb_next
    return Reason(type(error).__name__, _sound(f"{error}{place}".strip()))


_LIBRARY = logging.__file__.rsplit("/", 2)[0]


def _sound(text: str) -> str:
    """As UTF-8 can say it."""
    return text.encode(errors="replace").decode()


class _Lines(io.TextIOBase):
    """Takes what is printed to the log, line by line."""

    encoding, errors = "utf-8", "replace"
    LONGEST = 1024
    """The host keeps no more of a line."""

    def __init__(self, level: _log.Level):
        self.level, self.rest, self.buffer = level, "", _Buffer(self)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, rest = (self.rest + text).split("\n")
        for line in lines:
            _log.write(self.level, _sound(line))
        while len(rest) > self.LONGEST:
            _log.write(self.level, _sound(rest[: self.LONGEST]))
            rest = rest[self.LONGEST :]
        self.rest = rest
        return len(text)

    def flush(self) -> None:
        if self.rest:
            _log.write(self.level, _sound(self.rest))
            self.rest = ""


class _Buffer(io.BufferedIOBase):
    """The same for bytes."""

    def __init__(self, lines: _Lines):
        self.lines = lines

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        data = bytes(data)
        self.lines.write(data.decode(errors="replace"))
        return len(data)

    def flush(self) -> None:
        self.lines.flush()


class _Handler(logging.Handler):
    """Takes what `logging` is given to the log."""

    LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARN"), (logging.INFO, "INFO"), (logging.DEBUG, "DEBUG"))

    def emit(self, entry: logging.LogRecord) -> None:
        level = next((name for number, name in self.LEVELS if entry.levelno >= number), "TRACE")
        _log.write(_log.Level[level], _sound(self.format(entry)))


if hasattr(exports, "Transformer"):
    from wit_world.imports import context as _context

    class Transformer(exports.Transformer):
        def transform(self, key: bytes | None, value: bytes | None) -> list[Record]:
            if not _author.is_running:
                _author.run()
            try:
                return _records(_author.function(key, value))
            except Retry as retry:
                raise Err(Failure_Retry(retry.later))
            except Reject as reject:
                raise Err(Failure_Reject(reject.reason))
            except BaseException as error:
                raise Err(Failure_Fault(_reason(error)))
            finally:
                _author.end()

    __all__.append("Transformer")


if hasattr(exports, "Poller"):
    from wit_world.exports import poller as _poller

    class Poller(exports.Poller):
        def poll(self, position: bytes | None) -> _poller.Batch:
            if not _author.is_running:
                _author.run()
            try:
                batch = _author.function(position)
                return _poller.Batch(_records(list(batch.records)), _bytes(batch.position), batch.done)
            except Retry as retry:
                raise Err(_poller.PollFailure_Retry(retry.later))
            except BaseException as error:
                raise Err(_poller.PollFailure_Stop(_reason(error)))
            finally:
                _author.end()

    __all__.append("Poller")


class Lifecycle(exports.Lifecycle):
    def open(self) -> None:
        if not _author.is_running:
            _author.run()
        try:
            if _author.open:
                _author.open()
        except Failed as failed:
            raise Err(failed.reason.message)
        except BaseException as error:
            reason = _reason(error)
            raise Err(f"{reason.code}: {reason.message}")
        finally:
            _author.end()


__all__.append("Lifecycle")
