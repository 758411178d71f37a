//! Where records go that leave the log: what a sink's worker calls in place of a module.
//!
//! A sink into a database is a guest that collects records and hands them over in one go when it is settled
//! ([`batched`]). Where the database also keeps how far the sink is, in the transaction of the rows, a link between the
//! worker and the log goes by that ([`ledger`]).

pub mod batched;
mod calls;
mod fields;
pub mod ledger;
pub mod mongodb;
mod place;
pub mod postgres;
pub mod stdout;

pub use place::Place;

use crate::{lines::OutputFormat, record::Reason, stage::guest::Failed};
use std::sync::Arc;

/// Where a sink's records go.
#[derive(Clone, Debug)]
pub enum Into {
    /// Each is a line on the standard output.
    Stdout(OutputFormat),
    /// Each is a row of a table.
    Postgres(Arc<postgres::Settings>),
    /// Each is a document of a collection.
    Mongodb(Arc<mongodb::Settings>),
}

impl Into {
    /// What it is called where people read it.
    pub fn describe(&self) -> String {
        match self {
            Into::Stdout(_) => "standard output".to_owned(),
            Into::Postgres(settings) => format!("PostgreSQL, table {}", settings.table),
            Into::Mongodb(settings) => format!("MongoDB, {}.{}", settings.database, settings.collection),
        }
    }

    /// What its records have in common with those of a module: who made of them what they are.
    pub fn module(&self) -> &'static str {
        match self {
            Into::Stdout(_) => "stdout",
            Into::Postgres(_) => "postgres",
            Into::Mongodb(_) => "mongodb",
        }
    }

    /// What was done with so many records, in words.
    pub fn verb(&self) -> &'static str {
        match self {
            Into::Stdout(_) => "printed",
            Into::Postgres(_) | Into::Mongodb(_) => "written",
        }
    }
}

/// Whether records are added, or take the place of those of the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are added.
    #[default]
    Insert,
    /// They take the place of what is there.
    Upsert,
}

/// What becomes of a record without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTombstone {
    /// What there is of its key is removed.
    Delete,
    /// Nothing, and it counts as done.
    Skip,
    /// It fails.
    Reject,
}

/// A record that does not fit: it is itself to blame.
fn reject(code: &str, message: impl std::convert::Into<String>) -> Failed {
    Failed::Reject(Reason { code: Some(code.to_owned()), message: message.into() })
}

/// A tombstone where there may be none.
fn tombstone() -> Failed {
    reject("tombstone", "the record has no value: `on-tombstone: delete` or `skip` in the sink says what to do with it")
}
