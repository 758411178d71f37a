//! The admin API: a running host is seen and steered over HTTP.
//!
//! It has a thread of its own and nothing of the data path: it reads counts, and what it has workers do, they find
//! between two transactions.

mod cluster;
mod door;
mod lag;
mod metrics;
mod routes;
#[cfg(test)]
mod tests;
mod view;

pub use door::{Door, Token};
#[cfg(test)]
pub(crate) use metrics::ALL as METRICS;
pub use routes::{ROUTES, Route};

use crate::{
    supervisor::{Board, Running},
    swap::Desk,
    transport::log::Log,
};
use anyhow::{Context, Result};
use lag::Lags;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    thread,
};

/// What there is to see and to steer.
pub struct Admin {
    /// The pipeline's name.
    pub pipeline: String,
    /// The log that it runs on.
    pub log: Log,
    /// What runs, as soon as it does.
    pub board: Arc<Board>,
    desks: OnceLock<BTreeMap<String, Arc<Desk>>>,
    lags: Mutex<Lags>,
}

impl Admin {
    /// What is known of a host.
    pub fn new(pipeline: &str, log: &Log, board: &Arc<Board>) -> Arc<Admin> {
        let (pipeline, log, board) = (pipeline.to_owned(), log.clone(), board.clone());
        Arc::new(Admin { pipeline, log, board, desks: OnceLock::new(), lags: Mutex::default() })
    }

    /// Where the modules of each stage come in: what runs, runs a moment later.
    pub fn open_desks(&self, desks: BTreeMap<String, Arc<Desk>>) {
        self.desks.set(desks).ok();
    }

    /// Answers at these doors for as long as the process lives.
    pub fn serve(self: &Arc<Self>, doors: Vec<Door>) -> Result<()> {
        if doors.is_empty() {
            return Ok(());
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(8).build()?;
        let admin = self.clone();
        let work = move || {
            runtime.block_on(async {
                let local: Vec<_> = doors.into_iter().map(|door| tokio::spawn(door.serve(admin.clone()))).collect();
                for door in local {
                    door.await.ok();
                }
            });
        };
        thread::Builder::new()
            .name("admin".into())
            .spawn(work)
            .context("the thread for the admin API cannot be started")?;
        Ok(())
    }

    fn desks(&self) -> impl Iterator<Item = (&String, &Arc<Desk>)> {
        self.desks.get().into_iter().flatten()
    }

    fn desk(&self, name: &str) -> Option<&Arc<Desk>> {
        self.desks.get()?.get(name)
    }

    fn running(&self) -> &[Arc<Running>] {
        self.board.get().map_or(&[], Vec::as_slice)
    }

    fn find(&self, name: &str) -> Option<&Arc<Running>> {
        self.running().iter().find(|running| running.part.name == name)
    }
}
