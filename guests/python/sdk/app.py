"""What the component is made of: the exports of the SDK, and the author's stage or source."""

from importlib import import_module

import millstream
from millstream import *  # noqa: F403

import_module("source" if hasattr(millstream, "Poller") else "stage")
if not millstream._author.function:
    raise ImportError("nothing here is a stage: put @stage or @map_value before a function, or @source in a source.py")
