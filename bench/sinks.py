"""The plain script beside the host's sinks: lines of JSON into a database, in batches, by that database's own client.

sinks.py postgres|mongodb insert|upsert ADDRESS FILE BATCH
"""

import itertools
import json
import sys


def batches(path, size):
    with open(path, encoding="utf-8") as lines:
        while batch := [json.loads(line) for line in itertools.islice(lines, size)]:
            yield batch


def postgres(mode, address, path, size):
    import psycopg

    columns = ["id", "customer", "amount", "placed", "note"]
    statement = f"INSERT INTO orders ({', '.join(columns)}) VALUES (%s, %s, %s, %s, %s)"
    if mode == "upsert":
        others = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns[1:])
        statement += f" ON CONFLICT (id) DO UPDATE SET {others}"
    with psycopg.connect(address) as connection:
        for batch in batches(path, size):
            with connection.cursor() as cursor:
                cursor.executemany(statement, [[row[column] for column in columns] for row in batch])
            connection.commit()


def mongodb(mode, address, path, size):
    import pymongo

    collection = pymongo.MongoClient(address).shop.orders
    for number, batch in enumerate(batches(path, size)):
        if mode == "upsert":
            collection.bulk_write([pymongo.ReplaceOne({"_id": row["id"]}, row, upsert=True) for row in batch])
        else:
            for place, row in enumerate(batch):
                row["_id"] = f"orders/0@{number * size + place}"
            collection.insert_many(batch, ordered=False)


if __name__ == "__main__":
    kind, mode, address, path, size = sys.argv[1:]
    {"postgres": postgres, "mongodb": mongodb}[kind](mode, address, path, int(size))
