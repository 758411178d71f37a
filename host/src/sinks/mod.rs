//! Where records go that leave the log: what a sink's worker calls in place of a module.

pub mod stdout;
