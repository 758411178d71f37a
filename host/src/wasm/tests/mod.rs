//! Modules as their authors and operators meet them.

mod ahead;
mod answers;
mod failures;
mod files;
mod http;
mod kept;
mod lines;
mod page;
mod polls;
mod starts;
mod versions;
mod wasi;
