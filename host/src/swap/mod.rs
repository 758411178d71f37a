//! A stage's module is replaced while records flow, between two transactions, and the replacement undoes itself when
//! it is wrong.

mod desk;
mod modules;
mod shadow;
mod shelf;

pub use desk::{Desk, DeskSettings, Prepared, Refused};
pub use modules::{Back, Done, Ended, Modules, Orders, Probation, Seat, Tried, Unwanted};
pub use shadow::{Difference, Looked, Looking, Watched};
pub use shelf::{Named, Outcome, Range, Shelf, Standing, Swap};

use crate::{
    stage::guest::Guest,
    text::conceal,
    wasm::{Compiled, Instance, Setup},
};
use std::fmt;

/// How a worker comes by a guest.
type Start = dyn Fn() -> Result<Box<dyn Guest>, String> + Send + Sync;

/// A module that a stage can run.
pub struct Version {
    /// Its SHA-256 in hexadecimal.
    pub digest: String,
    /// How people call it: its file's name.
    pub name: String,
    start: Box<Start>,
}

impl Version {
    /// Its digest and its name.
    pub fn named(&self) -> Named {
        Named { digest: self.digest.clone(), name: self.name.clone() }
    }

    /// A module with this digest and name, of which every worker starts a guest of its own.
    pub fn new(
        digest: &str,
        name: &str,
        start: impl Fn() -> Result<Box<dyn Guest>, String> + Send + Sync + 'static,
    ) -> Version {
        Version { digest: digest.to_owned(), name: name.to_owned(), start: Box::new(start) }
    }

    /// A module that is compiled, for a stage that tells its instances this.
    pub fn of(compiled: &Compiled, setup: &Setup) -> Version {
        let (own, setup) = (compiled.clone(), setup.clone());
        Version::new(compiled.digest(), &compiled.name(), move || match Instance::new(&own, setup.clone()) {
            Ok(instance) => Ok(Box::new(instance)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The same; its words at a start that fails are told without these.
    pub fn concealing(self, hidden: &[String]) -> Version {
        let (start, hidden) = (self.start, hidden.to_vec());
        let start =
            move || start().map_err(|why| conceal(&why, &hidden.iter().map(String::as_str).collect::<Vec<_>>()));
        Version { start: Box::new(start), ..self }
    }

    /// A guest of this module, which stays on the thread that it was started on.
    pub fn start(&self) -> Result<Box<dyn Guest>, String> {
        (self.start)()
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.name, self.digest)
    }
}

/// What became of a module that was to replace another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Confirmed,
    /// It did what it must not, and the one before goes on.
    RolledBack(String),
    /// It was not tried to the end.
    Withdrawn(String),
}
