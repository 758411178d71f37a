//! The `millstream` command, to be broken on purpose: `MILLSTREAM_MUTANT` names how, and the tests of delivery are seen
//! to find it. `MILLSTREAM_FAIL_AT` names where a sound one is killed.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    millstream::cli::main()
}
