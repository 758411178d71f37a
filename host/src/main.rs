//! The `millstream` command.

use std::process::ExitCode;

/// librdkafka's memory too: it asks for a block for every header of every record, and the C library's own allocator
/// makes that the largest cost of all.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    millstream::cli::main()
}
