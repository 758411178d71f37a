//! Sinks into databases: a real PostgreSQL and what stands in for a MongoDB, hosts and servers that are killed, and what
//! lies there in the end.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/command.rs"]
mod command;
mod mongodb;
mod postgres;
#[path = "../support/process.rs"]
mod process;
mod proxy;
#[path = "../embedded/support.rs"]
#[allow(dead_code, reason = "each suite takes its part")]
mod support;

/// What is needed to believe one another: `ours.pem` and `other.pem` are authorities, ours has issued `server.pem`, for
/// localhost, and `bearer.pem`, the other one `stranger.pem`.
fn papers() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (ours, other) = (authority::Authority::new("ours"), authority::Authority::new("another"));
    ours.publish(&file("ours.pem"));
    other.publish(&file("other.pem"));
    ours.issue("a database", &["localhost"], None, &file("server.pem"));
    ours.issue("bearer", &[], None, &file("bearer.pem"));
    other.issue("bearer", &[], None, &file("stranger.pem"));
    folder
}

/// Records as lines of `key:value`, where the value is a JSON object.
fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("{}:{{\"id\":{n},\"name\":\"n{n}\"}}", n % 40)).collect()
}
