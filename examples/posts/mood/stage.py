"""One record for each tag of a post, by the tag: who mentions it, and in what mood."""

import json
from decimal import Decimal

from millstream import Record, record, stage

GOOD = {"good", "great"}
BAD = {"bad", "lost", "sad"}


@stage
def mood(key: bytes | None, value: bytes | None) -> list[Record]:
    if value is None:
        return []
    post = json.loads(value)
    words = post["text"].lower().replace(",", " ").replace(".", " ").split()
    balance = sum(word in GOOD for word in words) - sum(word in BAD for word in words)
    mention = {
        "post": post["id"],
        "author": post["author"],
        "at": post["at"],
        # Text, for its last digit: in the schema it is a decimal.
        "mood": str(round(Decimal(balance) / len(words), 2)),
    }
    return [record(tag, json.dumps({"tag": tag, **mention})) for tag in post["tags"]]
