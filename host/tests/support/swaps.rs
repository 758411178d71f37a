//! Modules that are swapped in, and what each of them deserves.
#![allow(dead_code, reason = "each suite takes its part")]

use crate::{
    command::MILLSTREAM,
    process::{Host, with_manners},
};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::Duration,
};

/// A module that is swapped in, what is to become of it, and in which words.
pub(crate) type Deserves = (&'static str, &'static str, &'static str);

/// One of each kind.
pub(crate) const MODULES: [Deserves; 7] = [
    ("marks-one", "confirmed", ""),
    ("panics", "rolled-back", "it always panics"),
    ("marks-two", "confirmed", ""),
    ("panics-at-100", "rolled-back", "it has had enough"),
    ("panics-at-start", "refused", "failed at its start"),
    ("refuses", "refused", "this is not the right day"),
    ("garbage", "refused", "not a WebAssembly module"),
];

/// Writes them all into a folder.
pub(crate) fn write_modules(folder: &Path) {
    for (manners, ..) in MODULES {
        let module = if manners == "garbage" { vec![0; 1000] } else { with_manners(manners) };
        fs::write(folder.join(format!("{manners}.wasm")), module).unwrap();
    }
}

/// What a command of a host's operator prints.
pub(crate) fn ask(folder: &Path, words: &str) -> (i32, String, String) {
    let output = xtask::clean_command(MILLSTREAM).args(words.split_whitespace()).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The same as JSON.
pub(crate) fn ask_json(folder: &Path, words: &str) -> Value {
    let (code, out, err) = ask(folder, &format!("{words} --json"));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{words}: {code} {out} {err}"))
}

/// The answer to a request: its status, and its body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// What a host counts by this name, over all of its workers.
pub(crate) fn counted(host: &Host, name: &str) -> f64 {
    let (_, text) = get(&host.admin(), "/metrics");
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// The answer to these bytes.
pub(crate) fn send(address: &str, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may answer, and leave, before it has read everything.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// How a host is doing.
pub(crate) fn status(folder: &Path, host: &Host) -> Value {
    ask_json(folder, &format!("status --admin {}", host.admin()))
}

/// Waits until a host's first stage is at work.
pub(crate) fn until_at_work(folder: &Path, host: &Host) {
    host.until("it is at work", Duration::from_secs(60), || status(folder, host)["stages"][0]["state"] == "running");
}

/// How often a host's partitions came or went, once it has so many in hand and none comes or goes any more.
pub(crate) fn settled(folder: &Path, host: &Host, partitions: usize) -> f64 {
    let held = || status(folder, host)["stages"][0]["partitions"].as_array().map(Vec::len);
    let rebalances = || counted(host, "millstream_rebalances_total");
    let mut before = rebalances();
    host.until("its partitions are at rest", Duration::from_secs(60), || {
        thread::sleep(Duration::from_secs(1));
        let now = rebalances();
        now == std::mem::replace(&mut before, now) && held() == Some(partitions)
    });
    before
}

/// What a swap came to, as the command tells it.
pub(crate) fn swap(folder: &Path, host: &Host, manners: &str) -> Value {
    ask_json(folder, &format!("swap copy {manners}.wasm --admin {}", host.admin()))
}

/// Whether a module got what it deserves.
pub(crate) fn judge((manners, outcome, words): Deserves, told: &Value, host: &Host) {
    let (came, why) = match told["error"]["code"].as_str() {
        Some(code) => (code, &told["error"]["message"]),
        None => (told["swap"]["outcome"].as_str().unwrap(), &told["swap"]["reason"]),
    };
    assert_eq!(came, outcome, "{manners}: {told}\n{}", host.said());
    assert!(why.as_str().unwrap_or_default().contains(words), "{manners}: {told}");
}
