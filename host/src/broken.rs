//! The `millstream` command, to be broken on purpose: `MILLSTREAM_MUTANT` names how. The tests of delivery are seen to
//! find it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    millstream::cli::main()
}
