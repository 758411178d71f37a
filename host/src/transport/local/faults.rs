//! Where the process may be killed on purpose, to see that what lies on the disk then is all or nothing.

/// Ends the process here when `MILLSTREAM_FAIL_AT=STEP[:N]` says so, at the N-th time that it comes by.
#[cfg(feature = "mutants")]
pub(super) fn at(step: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static WHERE: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wish = std::env::var("MILLSTREAM_FAIL_AT").ok()?;
        let (step, time) = wish.split_once(':').unwrap_or((&wish, "1"));
        Some((step.to_owned(), time.parse().expect("MILLSTREAM_FAIL_AT is STEP or STEP:N")))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if let Some((wished, time)) = &*WHERE
        && wished == step
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *time
    {
        std::process::abort();
    }
}

/// Nothing happens here in a release.
#[cfg(not(feature = "mutants"))]
pub(super) fn at(_: &str) {}
