//! A broker, hosts, writers and readers for the tests.

#[path = "../../support/authority.rs"]
mod authority;
mod host;
#[path = "../../support/process.rs"]
pub(crate) mod process;
mod proxy;
#[allow(unsafe_code, reason = "header names that are not text, which the wrapper does not let through")]
pub mod raw;
mod topics;
mod watch;

pub use authority::Authority;
pub use host::Pipeline;
pub(crate) use process::{Host, broken_host, guests, soak};
pub use proxy::{Answers, Proxied, Proxy};
pub use topics::{Failures, Kafka, Sent, send_one, unique};
pub use watch::{Seen, Watch, read_all};

use std::time::{Duration, Instant};

/// Waits until something holds.
pub fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
