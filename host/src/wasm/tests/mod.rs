//! Modules as their authors and operators meet them.

mod answers;
mod failures;
mod files;
mod kept;
mod lines;
mod polls;
mod starts;
mod wasi;
