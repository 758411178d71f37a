//! Lines on the host's log, marked with the stage and the record in hand.

use crate::log::{Level, write};
use std::{panic, sync::Once};

/// Writes a line at level `trace`, as `println!` takes it.
#[macro_export]
macro_rules! trace { ($($line:tt)*) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($line)*)) }; }

/// Writes a line at level `debug`, as `println!` takes it.
#[macro_export]
macro_rules! debug { ($($line:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($line)*)) }; }

/// Writes a line at level `info`, as `println!` takes it.
#[macro_export]
macro_rules! info { ($($line:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($line)*)) }; }

/// Writes a line at level `warn`, as `println!` takes it.
#[macro_export]
macro_rules! warn { ($($line:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($line)*)) }; }

/// Writes a line at level `error`, as `println!` takes it.
#[macro_export]
macro_rules! error { ($($line:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($line)*)) }; }

/// A panic ends as a trap, which has no words: they go to the log before it, and the host puts them into the reason.
pub fn say_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let words = panic.payload_as_str().unwrap_or("no words");
            let place = panic.location().map(|at| format!(" at {at}")).unwrap_or_default();
            write(Level::Error, &format!("panicked{place}: {words}"));
        }));
    });
}
