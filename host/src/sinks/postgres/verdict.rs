//! Whose fault an error is: a record's, somebody's who has to mend something, or nobody's that will not pass.

use crate::{sinks::reject, stage::guest::Failed, transport::Fault};
use openssl::ssl;
use std::{error::Error as StdError, io, iter};
use tokio_postgres::{Error, error::DbError};

/// Whose fault it is that rows were not written.
pub(super) enum Verdict {
    /// That of one of them.
    Record(Failed),
    /// That of none.
    Other,
}

/// What the server says of rows. What a row is made of (class 22), what must hold of it (23, 44, the policies of its table),
/// what is too large of it (54), and what a trigger raises (45, P0) is its own fault. Two that turn out to be one row (21000)
/// are none's: alone, each goes in.
pub(super) fn of(error: &Error) -> Verdict {
    let Some(said) = error.as_db_error() else { return Verdict::Other };
    let code = said.code().code();
    // A missing right has the same code as a row that a policy keeps out; who says so does not.
    let is_kept_out = code == "42501" && said.routine() == Some("ExecWithCheckOptions");
    let is_own = ["22", "23", "44", "45", "54", "P0"].iter().any(|class| code.starts_with(class));
    let is_own = is_own || is_kept_out || code == "21000";
    match is_own {
        true => Verdict::Record(reject(code, words(said))),
        false => Verdict::Other,
    }
}

/// What an error means that is no row's.
pub(super) fn fault(address: &str, error: &Error) -> Fault {
    let Some(said) = error.as_db_error() else {
        return Fault::Unavailable(format!("PostgreSQL at {address} does not answer: {}", cause(error)));
    };
    let at = format!("PostgreSQL at {address}: {}", words(said));
    match said.code().code() {
        // A statement that ran out of its time: with fewer rows it may not.
        "57014" => Fault::TimedOut(at),
        "42P10" => {
            Fault::Forbidden(format!("{at}: `mode: upsert` needs a unique index over just the columns of `key`"))
        }
        // A right, a table, a column, a database, a role: somebody has to give it.
        code if code.starts_with("42")
            || code.starts_with("28")
            || code.starts_with("3D")
            || code.starts_with("3F") =>
        {
            Fault::Forbidden(at)
        }
        // Two that wait for each other, a server that shuts down, one that is full: it passes.
        code if code.starts_with("40") || code.starts_with("25") => Fault::Aborted(at),
        _ => Fault::Unavailable(at),
    }
}

/// What an error means at the door.
pub(super) fn connecting(address: &str, error: &Error) -> Fault {
    match error.as_db_error() {
        Some(said) if said.code().code().starts_with("28") || said.code().code().starts_with("3D") => {
            Fault::Forbidden(format!("PostgreSQL at {address} lets nobody in by this `url`: {}", words(said)))
        }
        Some(_) => fault(address, error),
        None => match distrust(error) {
            Some(why) => Fault::Forbidden(format!("PostgreSQL at {address} {why}")),
            None => fault(address, error),
        },
    }
}

/// Why a server and this client do not trust one another; nothing when that is not what is wrong.
fn distrust(error: &Error) -> Option<String> {
    let mut reasons = iter::successors(error.source(), |reason| (*reason).source());
    // What the other side has against this one comes when the connection is used.
    let within = |reason: &(dyn StdError + 'static)| match reason.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<ssl::Error>().map(first_reason)),
        None => reason.downcast_ref::<ssl::Error>().map(first_reason),
    };
    let reason = reasons.find_map(within).flatten();
    let whole = error.source()?.to_string();
    Some(match reason {
        // What exactly is wrong stands behind it.
        Some("certificate verify failed") => {
            let why = whole.rsplit(": ").next().unwrap_or(&whole);
            format!(
                "has a certificate that cannot be trusted: {why}: name the file of who vouches for it by `sslrootcert`, \
                 or correct the host"
            )
        }
        Some(reason) => {
            let is_own = reason.contains("certificate") || reason.contains("unknown ca");
            let way_out = if is_own { ": correct `sslcert` and `sslkey`, or what it trusts" } else { "" };
            format!("does not accept how this client speaks TLS: {reason}{way_out}")
        }
        None if whole == "server does not support TLS" => {
            "speaks no TLS, which `sslmode` asks for: correct it, or let the server speak it".to_owned()
        }
        None => return None,
    })
}

fn first_reason(error: &ssl::Error) -> Option<&'static str> {
    error.ssl_error()?.errors().first()?.reason()
}

/// What an error means where a table is to be made.
pub(super) fn making(address: &str, name: &str, statement: &str, error: &Error) -> Fault {
    match error.as_db_error() {
        Some(said) if said.code().code() == "42501" => Fault::Forbidden(format!(
            "PostgreSQL at {address} does not let this user make the table {name}: allow it, or make it: {statement}"
        )),
        _ => fault(address, error),
    }
}

pub(super) fn no_answer(address: &str) -> Fault {
    Fault::Unavailable(format!("PostgreSQL at {address} does not answer"))
}

/// What the server says, in one line. Its detail may show a whole row; that of a key that is there already shows the key.
fn words(said: &DbError) -> String {
    let detail = said.detail().filter(|_| said.code().code() == "23505");
    let words = detail.map_or_else(|| said.message().to_owned(), |detail| format!("{}: {detail}", said.message()));
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The innermost reason.
fn cause(error: &Error) -> String {
    let mut inner = error.source();
    while let Some(next) = inner.and_then(|inner| inner.source()) {
        inner = Some(next);
    }
    inner.map_or_else(|| error.to_string(), ToString::to_string)
}
