//! A stage for the host's tests: it does what the record's value says, a word and what belongs to it. Any other
//! record passes unchanged.

use millstream::{
    Bytes, Failure, Header, Record, code, config, context, fault, info, record, reject, retry, retry_after,
};
use std::cell::{Cell, RefCell};

millstream::stage!(transform);
millstream::open!(open);

/// How it behaves, whatever records say. A test that wants another module writes another word into the file.
static MANNERS: [u8; 32] = *b"manners:good                    ";

fn manners() -> &'static str {
    str::from_utf8(&std::hint::black_box(&MANNERS)[8..]).unwrap_or_default().trim()
}

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn open() -> Result<(), String> {
    match manners() {
        "panics-at-start" => panic!("asked to panic at its start"),
        "refuses" => return Err("this is not the right day".into()),
        _ => {}
    }
    match config::get("open").as_deref() {
        Some("loop") => spin(),
        Some("panic") => panic!("asked to panic in open"),
        Some("context") => drop(context::headers()),
        _ => {}
    }
    config::get("refuse").map_or(Ok(()), Err)
}

fn transform(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let calls = CALLS.get() + 1;
    CALLS.set(calls);
    let text = value.as_deref().and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
    match manners() {
        "panics" => panic!("it always panics"),
        "loops" => spin(),
        "panics-at-100" if calls >= 100 => panic!("it has had enough"),
        "rejects" => return Err(reject("it rejects everything")),
        _ => {}
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = rest.split(' ').next().unwrap_or_default().parse::<usize>();
    let one = |value: String| Ok(vec![record(key.clone(), value)]);

    match word {
        // What it gives.
        "filter" => Ok(vec![]),
        "many" => Ok((0..number.unwrap_or(1_000_000)).map(|_| record(None, "")).collect()),
        "huge" => Ok(vec![record(key, vec![b'x'; number.unwrap_or(48) << 20])]),
        "add" => Ok(vec![record(key, value).header("tag", "a").header("tag", "b").null_header("none")]),
        "replace" => Ok(vec![record(key, value).replace_headers().header("only", "this")]),
        "tombstone" => Ok(vec![record(key, None)]),
        "to" => {
            let (output, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            Ok(vec![record(key, rest).to(output)])
        }
        "partition" => Ok(vec![record(key, value).partition(number.unwrap_or_default() as u32)]),
        "burst" => {
            let (count, rest) = rest.split_once(' ').unwrap_or(("1", rest));
            let parts = 0..count.parse().unwrap_or(1);
            Ok(parts.map(|part| record(key.clone(), format!("{rest}/{part}"))).collect())
        }
        "at" => {
            let time = rest.parse().unwrap_or_default();
            Ok(vec![record(key, value).at(time)])
        }

        // How it fails.
        "reject" => Err(reject(code("asked", "asked to reject"))),
        "retry" => Err(retry("asked to retry")),
        "attempts" if (context::origin().attempt as usize) < number.clone().unwrap_or(1) => {
            Err(retry("asked to retry"))
        }
        "later" => Err(retry_after(250, code("asked", "asked for later"))),
        "fault" => Err(fault(code("asked", "asked for a fault"))),
        "panic" => panic!("asked to panic"),
        "loop" => spin(),
        "work" => {
            for step in 0..number.unwrap_or_default() {
                std::hint::black_box(step);
            }
            Ok(vec![record(key, value)])
        }
        "memory" => loop {
            KEPT.with_borrow_mut(|kept| kept.push(vec![1; 1 << 20]));
        },
        "keep" => {
            KEPT.with_borrow_mut(|kept| kept.push(vec![1; number.unwrap_or(1) << 10]));
            one(calls.to_string())
        }
        "recurse" => one(recurse(1).to_string()),
        "once" if context::origin().attempt == 1 => panic!("asked to panic at the first attempt"),
        "fresh" if calls > 1 => panic!("asked to panic in an instance that was used before"),

        // What it knows.
        "origin" => {
            let at = context::origin();
            let time = at.timestamp.map_or("none".into(), |time| time.to_string());
            one(format!("{}/{}/{}@{}/{time}/{}", at.topic, at.input, at.partition, at.offset, at.attempt))
        }
        "headers" => one(context::headers().iter().map(show).collect::<Vec<_>>().join(" ")),
        "config" if rest.is_empty() => {
            one(config::all().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
        }
        "config" => one(config::get(rest).unwrap_or("none".into())),
        "calls" => one(calls.to_string()),
        "log" => {
            for line in 1..=number.unwrap_or(1) {
                info!("line {line}\n\x1b[31mred\x07");
            }
            Ok(vec![record(key, value)])
        }
        "say" => {
            info!("{rest}");
            Ok(vec![record(key, value)])
        }
        "shout" => {
            info!("{}", "x".repeat(number.unwrap_or(2048)));
            Ok(vec![record(key, value)])
        }
        _ => Ok(vec![match manners().strip_prefix("marks-") {
            Some(mark) => record(key, value).header("by", mark),
            None => record(key, value),
        }]),
    }
}

fn show(header: &Header) -> String {
    let value = header.value.as_deref().map_or("none".into(), String::from_utf8_lossy);
    format!("{}={value}", header.name)
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

/// Not a tail call, and nothing that the compiler could fold.
fn recurse(depth: u64) -> u64 {
    1 + std::hint::black_box(recurse as fn(u64) -> u64)(std::hint::black_box(depth + 1))
}
