//! What can go wrong with the log's file, in words, and what a worker makes of it.

use super::codec::Damage;
use crate::transport::Fault;
use rusqlite::ErrorCode;
use std::path::Path;

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Trouble {
    kind: Kind,
    words: String,
    /// It is the file that it is about, and not what is in it.
    of_file: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It may work later.
    Passing,
    /// Nothing helps: the file is no good, or somebody has to choose.
    Fatal,
    /// It will never be taken.
    Refused,
    /// Something came in between.
    Overtaken,
    /// Another one has the writer's name.
    Fenced,
}

impl Trouble {
    /// What may work later.
    pub(super) fn passing(words: impl Into<String>) -> Trouble {
        Trouble { kind: Kind::Passing, words: words.into(), of_file: false }
    }

    /// What may work later with this file.
    pub(super) fn file(words: impl Into<String>) -> Trouble {
        Trouble { of_file: true, ..Trouble::passing(words) }
    }

    /// What nothing helps against.
    pub(super) fn fatal(words: impl Into<String>) -> Trouble {
        Trouble { kind: Kind::Fatal, words: words.into(), of_file: false }
    }

    /// A file that is no good.
    pub(super) fn damaged(words: impl Into<String>) -> Trouble {
        Trouble { of_file: true, ..Trouble::fatal(words) }
    }

    /// What is never taken.
    pub(super) fn refused(words: impl Into<String>) -> Trouble {
        Trouble { kind: Kind::Refused, words: words.into(), of_file: false }
    }

    /// Something that came in between.
    pub(super) fn overtaken(words: impl Into<String>) -> Trouble {
        Trouble { kind: Kind::Overtaken, words: words.into(), of_file: false }
    }

    /// Whose name another one has.
    pub(super) fn fenced(words: impl Into<String>) -> Trouble {
        Trouble { kind: Kind::Fenced, words: words.into(), of_file: false }
    }

    /// Damage at a place.
    pub(super) fn at(damage: Damage, topic: &str, partition: u32, offset: u64) -> Trouble {
        Trouble::damaged(format!(
            "{topic}/{partition}: the records up to offset {offset} are damaged ({damage}): put back a copy of the log, \
             or go on behind them with `offsets set`"
        ))
    }

    /// With the file that it is about.
    pub(super) fn of(mut self, path: &Path) -> Trouble {
        if std::mem::take(&mut self.of_file) {
            self.words = format!("{}: {}", path.display(), self.words);
        }
        self
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Trouble::file("the disk is full: free some space"),
            Some(ErrorCode::NotADatabase) => Trouble::damaged(
                "this is no log of millstream's, so it is left as it is: move it away, or name another folder with \
                 `state:`",
            ),
            Some(ErrorCode::DatabaseCorrupt) => {
                Trouble::damaged(format!("the file is damaged ({error}): put back a copy of it, with its -wal"))
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Trouble::file(format!("it cannot be written ({error}): the log needs a folder that it may write"))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Trouble::file("another process has been writing to it for too long")
            }
            Some(ErrorCode::TooBig) => Trouble::refused("a record is too large for the log"),
            Some(ErrorCode::SystemIoFailure) => Trouble::file(format!("it cannot be read or written ({error})")),
            None => {
                Trouble::damaged(format!("the file holds what no millstream wrote ({error}): put back a copy of it"))
            }
            _ => Trouble::file(error.to_string()),
        }
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Fault {
        let Trouble { kind, words, .. } = trouble;
        match kind {
            Kind::Passing => Fault::Unavailable(words),
            Kind::Fatal => Fault::Fatal(words),
            Kind::Refused => Fault::Refused(words),
            Kind::Overtaken => Fault::Aborted(words),
            Kind::Fenced => Fault::Fenced(words),
        }
    }
}
