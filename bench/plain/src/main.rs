//! Plain loops on the file of an embedded log: what SQLite itself takes for the same batches.

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::{
    io::{BufWriter, Write, stdout},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often an observer looks.
const LOOK: Duration = Duration::from_millis(2);
/// How long it looks at what does not change any more.
const PATIENCE: Duration = Duration::from_secs(60);

const HELP: &str = "millstream-bench-plain COMMAND FILE …

  pass FILE INPUT OUTPUT GROUP RECORDS
                                  copies the rows of a topic, a transaction for each so many records
  read FILE TOPIC                 writes the bytes of all rows of a topic to the standard output
  observe FILE group GROUP        tells how many records a group is done with, each time it gets further
  observe FILE topic TOPIC        tells how many records a topic has, each time it has more
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["pass", file, input, output, group, records] => pass(file, input, output, group, records.parse()?),
        ["read", file, topic] => read(file, topic),
        ["observe", file, "group", group] => {
            observe(file, "SELECT coalesce(sum(next), 0) FROM progress WHERE grp = ?1", group)
        }
        ["observe", file, "topic", topic] => observe(
            file,
            "SELECT coalesce(sum(next), 0) FROM part JOIN topic ON topic.id = part.topic WHERE topic.name = ?1",
            topic,
        ),
        _ => bail!("{HELP}"),
    }
}

/// As the host opens it by default: a commit waits for the disk.
fn open(file: &str) -> Result<Connection> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// The partitions of a topic.
fn parts(connection: &Connection, topic: &str) -> Result<Vec<i64>> {
    let mut query = connection.prepare(
        "SELECT part.id FROM part JOIN topic ON topic.id = part.topic WHERE topic.name = ?1 ORDER BY part.number",
    )?;
    let found: Vec<i64> = query.query_map([topic], |row| row.get(0))?.collect::<Result<_, _>>()?;
    (!found.is_empty()).then_some(found).with_context(|| format!("there is no topic {topic}"))
}

struct Row {
    last: i64,
    count: i64,
    size: i64,
    latest: i64,
    data: Vec<u8>,
}

/// Reads rows until they hold enough records, writes them and how far it is, and commits: the loop that a host goes
/// through, without a look at the records. Says how many there were, and the seconds that it took.
fn pass(file: &str, input: &str, output: &str, group: &str, records: i64) -> Result<()> {
    let (reader, mut writer) = (open(file)?, open(file)?);
    let (from, to) = (parts(&reader, input)?, parts(&reader, output)?);
    let begun = Instant::now();
    let mut all = 0;
    for (from, to) in from.iter().zip(&to) {
        let mut next = 0;
        loop {
            let rows = take(&reader, *from, next, records)?;
            let Some(last) = rows.last() else { break };
            next = last.last + 1;
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut end: i64 =
                tx.prepare_cached("SELECT next FROM part WHERE id = ?1")?.query_row([to], |r| r.get(0))?;
            for row in &rows {
                end += row.count;
                all += row.count;
                tx.prepare_cached(
                    "INSERT INTO batch (part, last, count, size, latest, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![to, end - 1, row.count, row.size, row.latest, row.data])?;
            }
            tx.prepare_cached("UPDATE part SET next = ?2 WHERE id = ?1")?.execute(params![to, end])?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO progress (grp, name, number, part, next) VALUES (?4, ?1, ?2, ?2, ?3)",
            )?
            .execute(params![input, from, next, group])?;
            tx.commit()?;
        }
    }
    println!("{all} {:.3}", begun.elapsed().as_secs_f64());
    Ok(())
}

fn take(reader: &Connection, part: i64, from: i64, records: i64) -> Result<Vec<Row>> {
    let mut query = reader.prepare_cached(
        "SELECT last, count, size, latest, data FROM batch WHERE part = ?1 AND last >= ?2 ORDER BY last",
    )?;
    let mut found = query.query(params![part, from])?;
    let (mut rows, mut taken) = (Vec::new(), 0);
    while taken < records
        && let Some(row) = found.next()?
    {
        taken += row.get::<_, i64>(1)?;
        rows.push(Row {
            last: row.get(0)?,
            count: row.get(1)?,
            size: row.get(2)?,
            latest: row.get(3)?,
            data: row.get(4)?,
        });
    }
    Ok(rows)
}

/// Every byte of every row, into a pipe.
fn read(file: &str, topic: &str) -> Result<()> {
    let reader = open(file)?;
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    for part in parts(&reader, topic)? {
        let mut query = reader.prepare("SELECT data FROM batch WHERE part = ?1 ORDER BY last")?;
        let mut rows = query.query([part])?;
        while let Some(row) = rows.next()? {
            out.write_all(row.get_ref(0)?.as_blob()?)?;
        }
    }
    Ok(out.flush()?)
}

/// Watches a number grow, for as long as somebody listens. What it looks at is a page in the cache, unless somebody
/// has committed.
fn observe(file: &str, question: &str, name: &str) -> Result<()> {
    let reader = open(file)?;
    let mut out = stdout().lock();
    let (mut told, mut since) = (None, Instant::now());
    while since.elapsed() < PATIENCE {
        let records: i64 = reader.prepare_cached(question)?.query_row([name], |row| row.get(0))?;
        if told.replace(records) != Some(records) {
            let epoch_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
            writeln!(out, r#"{{"epoch_ms":{epoch_ms:.3},"records":{records}}}"#)?;
            out.flush()?;
            since = Instant::now();
        }
        sleep(LOOK);
    }
    bail!("{name} has stood still for {} s", PATIENCE.as_secs())
}
