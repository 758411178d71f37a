//! What one record may cost: memory, time, and what comes back.

use super::engine::{STACK, TICK};
use crate::{
    record::{Header, HeaderEdit, Record},
    text::{count, grouped},
};
use rustix::time::{ClockId, clock_gettime};
use std::{fmt, time::Duration};
use wasmtime::ResourceLimiter;

/// How many times its CPU time a call may take on the clock on the wall.
const WALL: u32 = 10;

/// Bytes of the largest module's file that any manifest may allow.
pub const MODULE_SIZE: u64 = 1 << 30;

/// The headers of an output that are reckoned with, before their own size counts.
const HEADERS: usize = 16;

/// An instance whose memory is fuller than this share of its limit may be worn: some runtimes never give back what they
/// took.
const FULL: (u64, u64) = (3, 4);

/// Bounds on a stage's guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory of an instance.
    pub memory: u64,
    /// CPU time of one call; ten times that in wall time. Looked at every 10 ms.
    pub time: Duration,
    /// Records that may come of one.
    pub outputs: u32,
    /// Bytes of keys, values and headers in all that comes of one record.
    pub output_bytes: u64,
    /// What a guest may ask of the host in one call: its log, its configuration, and all of WASI.
    pub host_calls: u32,
    /// Lines that one call may write to the log; ten times that an instance in a second.
    pub log_lines: u32,
    /// Bytes of the module's file.
    pub module_size: u64,
    /// What it may cost to compile the module.
    pub compile: CompileLimits,
}

/// Bounds on the compilation of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time, in whole seconds.
    pub time: Duration,
    /// Bytes of memory of the process that compiles.
    pub memory: u64,
}

/// Several times what an interpreter takes that is compiled to WebAssembly, as Python's is, on a slow machine.
impl Default for CompileLimits {
    fn default() -> Self {
        Self { time: Duration::from_mins(5), memory: 2 << 30 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            time: Duration::from_millis(250),
            outputs: 1000,
            output_bytes: 8 << 20,
            host_calls: 100_000,
            log_lines: 20,
            module_size: 128 << 20,
            compile: CompileLimits::default(),
        }
    }
}

impl Limits {
    /// Checks what came of one record.
    pub(super) fn check(&self, records: &[Record]) -> Result<(), Exceeded> {
        if records.len() > self.outputs as usize {
            return Err(Exceeded::Outputs { given: records.len() as u64, limit: self.outputs });
        }
        let given = records.iter().map(size).sum();
        if given > self.output_bytes {
            return Err(Exceeded::OutputBytes { given, limit: self.output_bytes });
        }
        Ok(())
    }

    /// Bytes that the host takes over from a guest in one call, before it can count: whatever is within the limits,
    /// and the room that records take in the host.
    pub(super) fn transfer(&self) -> usize {
        let record = size_of::<Record>() + HEADERS * size_of::<Header>();
        (self.outputs as usize).saturating_mul(record).saturating_add(self.output_bytes as usize)
    }

    fn wall(&self) -> Duration {
        self.time.saturating_mul(WALL)
    }
}

/// The bytes that a record holds, as the manifest's limit counts them.
fn size(record: &Record) -> u64 {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers = match &record.headers {
        HeaderEdit::Keep => &[],
        HeaderEdit::Add(headers) | HeaderEdit::Replace(headers) => headers.as_slice(),
    };
    let headers: usize = headers.iter().map(|header| header.name.len() + bytes(&header.value)).sum();
    (bytes(&record.key) + bytes(&record.value) + headers) as u64
}

/// The limit that a guest hit. It travels through the engine as the error that ends the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("needs more memory than its limit of {}", Bytes(*.0))]
    Memory(u64),
    #[error("took more CPU time than its limit of {0:?}")]
    Time(Duration),
    #[error("took longer than its limit of {0:?}, ten times its limit of CPU time")]
    WallTime(Duration),
    #[error("used more stack than the {} there are: it calls itself too deeply", Bytes(STACK as u64))]
    Stack,
    #[error("gave {}, and its limit is {}", count(*.given, "record"), grouped(u64::from(*.limit)))]
    Outputs { given: u64, limit: u32 },
    #[error("gave {} of output, and its limit is {}", Bytes(*.given), Bytes(*.limit))]
    OutputBytes { given: u64, limit: u64 },
    #[error("asked more of the host than its limit of {}", count(u64::from(*.0), "call"))]
    HostCalls(u32),
    #[error("gave far more than its limits of {} and {} of output", count(u64::from(*.outputs), "record"), Bytes(*.bytes))]
    Transfer { outputs: u32, bytes: u64 },
}

impl Exceeded {
    /// Groups failures by the limit that was hit.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory-limit",
            Self::Time(_) => "time-limit",
            Self::WallTime(_) => "wall-time-limit",
            Self::Stack => "stack-limit",
            Self::HostCalls(_) => "host-call-limit",
            Self::Outputs { .. } => "output-limit",
            Self::OutputBytes { .. } | Self::Transfer { .. } => "output-bytes-limit",
        }
    }
}

/// A size, as a manifest writes it.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => f.write_str(&count(self.0, "byte")),
        }
    }
}

/// Measures one call. It starts at the first tick inside it, so that a call without one costs no look at a clock.
#[derive(Default)]
pub(super) struct Stopwatch(Option<Start>);

struct Start {
    cpu: Duration,
    ticks: u64,
}

impl Start {
    fn left(&self, limits: &Limits, ticks: u64) -> Result<Duration, Exceeded> {
        let wall = TICK.saturating_mul(u32::try_from(ticks - self.ticks).unwrap_or(u32::MAX));
        limits.wall().checked_sub(wall).ok_or(Exceeded::WallTime(limits.wall()))
    }
}

impl Stopwatch {
    /// Another call begins.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }

    /// Looks at the clocks at a tick.
    pub(super) fn check(&mut self, limits: &Limits, ticks: u64) -> Result<(), Exceeded> {
        let cpu = thread_time();
        let start = self.0.get_or_insert(Start { cpu, ticks });
        if cpu.saturating_sub(start.cpu) > limits.time {
            return Err(Exceeded::Time(limits.time));
        }
        start.left(limits, ticks).map(drop)
    }

    /// What is left of the call's time on the wall. A call that waits in the host sees no tick, so this starts it too.
    pub(super) fn left(&mut self, limits: &Limits, ticks: u64) -> Result<Duration, Exceeded> {
        self.0.get_or_insert_with(|| Start { cpu: thread_time(), ticks }).left(limits, ticks)
    }
}

/// The CPU time of this thread.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Counts the memory of all that one instance is made of.
pub(super) struct Memory {
    limit: u64,
    /// What is the host's own of it, and free.
    free: u64,
    used: u64,
    /// The last growth that was granted, taken back when it fails all the same.
    granted: u64,
    /// What was used when it was found full.
    full: Option<u64>,
}

impl Memory {
    pub(super) fn new(limit: u64, free: u64) -> Self {
        Self { limit, free, used: 0, granted: 0, full: None }
    }

    /// True when a fresh instance is to take this one's place, before it comes to the limit: when it was full, and has
    /// taken more than half of what was left since. One that only needs so much is large and not worn: its next would be
    /// the same. It is asked between records, or polls.
    pub(super) fn is_worn(&mut self) -> bool {
        let (share, of) = FULL;
        let used = self.used.saturating_sub(self.free);
        if used <= self.limit / of * share {
            return false;
        }
        let full = *self.full.get_or_insert(used);
        used - full > self.limit.saturating_sub(full) / 2
    }

    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(bytes as u64);
        if used > self.limit.saturating_add(self.free) {
            return Err(Exceeded::Memory(self.limit).into());
        }
        (self.used, self.granted) = (used, bytes as u64);
        Ok(true)
    }

    fn take_back(&mut self) -> wasmtime::Result<()> {
        self.used -= std::mem::take(&mut self.granted);
        Ok(())
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(wanted.saturating_sub(now))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back()
    }

    fn table_growing(&mut self, now: usize, wanted: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(wanted.saturating_sub(now).saturating_mul(size_of::<usize>()))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_waits_is_ended_by_the_clock_on_the_wall() {
        let limits = Limits { time: Duration::from_millis(250), ..Limits::default() };
        let mut stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.check(&limits, 1000), Ok(()), "the first look starts it");
        assert_eq!(stopwatch.check(&limits, 1250), Ok(()));
        let exceeded = stopwatch.check(&limits, 1251).unwrap_err();
        assert_eq!(exceeded.code(), "wall-time-limit");
        assert_eq!(exceeded.to_string(), "took longer than its limit of 2.5s, ten times its limit of CPU time");
        stopwatch.reset();
        assert_eq!(stopwatch.check(&limits, 9000), Ok(()), "another call");
    }

    /// After how many records an instance is worn, whose memory is that large after each; `None` when it never is.
    fn worn(sizes: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut memory = Memory::new(64 << 20, 2 << 20);
        sizes.into_iter().position(|size| {
            let more = (size << 20) + (2 << 20) - memory.used;
            assert!(memory.grow(more as usize).is_ok(), "{size}");
            memory.is_worn()
        })
    }

    #[test]
    fn memory_that_is_never_given_back_wears_out_before_it_comes_to_its_limit() {
        assert_eq!(worn(1..=64), Some(56), "full at 49, worn at 57");
        assert_eq!(worn((40..=64).step_by(5)), Some(4), "large records: full at 50, worn at 60");
        assert_eq!(worn(60..=64), Some(3), "full from the start, and still growing");
    }

    #[test]
    fn memory_that_is_only_large_does_not_wear_out() {
        assert_eq!(worn([63; 1000]), None);
        assert_eq!(worn([1, 1, 60, 60, 60, 60]), None, "what is made for a later record");
        assert_eq!(worn([40, 50, 55, 57, 57, 57]), None);
    }

    #[test]
    fn sizes_are_said_as_a_manifest_writes_them() {
        let said = [0, 1, 1023, 1024, 1025, 64 << 20, 3 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(said, ["0 bytes", "1 byte", "1,023 bytes", "1KiB", "1,025 bytes", "64MiB", "3GiB"]);
    }
}
