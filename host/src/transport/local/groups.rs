//! Groups from the outside.

use super::{LocalLog, trouble::Trouble};
use crate::transport::log::{Groups, Member};
use anyhow::Result;
use rusqlite::Params;
use std::time::Duration;

/// Questions about the groups of an embedded log.
pub struct LocalGroups(LocalLog);

impl LocalGroups {
    /// Questions about this log's groups.
    pub fn new(log: &LocalLog) -> LocalGroups {
        LocalGroups(log.clone())
    }

    fn names(&self, query: &str, of: impl Params) -> Result<Vec<String>> {
        Ok(self.0.desk().read(|tx| {
            let mut query = tx.prepare_cached(query)?;
            Ok(query.query_map(of, |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?)
    }
}

impl Groups for LocalGroups {
    fn list(&self) -> Result<Vec<String>> {
        self.names("SELECT DISTINCT grp FROM progress ORDER BY grp", [])
    }

    /// All members of a group are in one process, and count as one.
    fn members(&self, group: &str) -> Result<usize> {
        Ok(usize::from(self.0.0.locks.is_at_work(group)?))
    }

    /// None has a name, as all are in one process.
    fn named_members(&self, _group: &str) -> Result<Vec<Member>> {
        Ok(Vec::new())
    }

    /// A lock ends with the process that holds it.
    fn echo(&self) -> Duration {
        Duration::ZERO
    }

    fn delete(&self, group: &str) -> Result<()> {
        let Some(_lock) = self.0.join(group)? else {
            return Err(Trouble::passing(format!("group {group} is at work: end who runs it, and try again")).into());
        };
        self.0.desk().write(|tx| Ok(tx.execute("DELETE FROM progress WHERE grp = ?1", [group])?))?;
        self.0.0.bell.ring();
        Ok(())
    }

    fn topics(&self, group: &str) -> Result<Vec<String>> {
        // One that was deleted is no topic any more.
        self.names(
            "SELECT DISTINCT topic.name FROM progress JOIN topic ON topic.name = progress.name WHERE grp = ?1
             ORDER BY topic.name",
            [group],
        )
    }
}
