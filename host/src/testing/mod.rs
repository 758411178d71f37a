//! Cases for a stage: records that it is given, and what is to come of them. They run offline, through the stage as
//! `run` has it: the same instance with its limits, the same routes to the outputs, the same verdict on a failure.
//!
//! The way of a case: [`cases`] (its text, checked against the stage) → [`bench`](mod@bench) (what comes of it) →
//! [`verdict`] (what differs) → [`update`] (what came, written into the text).

pub mod bench;
pub mod cases;
mod form;
pub mod junit;
pub mod update;
pub mod verdict;

pub use bench::Bench;
pub use cases::{Case, CaseFile, CaseText};
pub use form::{Event, FailureForm, Kind, Origin, RecordForm};
pub use verdict::{Line, Verdict, difference};
