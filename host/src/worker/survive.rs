//! What is done about each fault: one table, whoever works.

use super::{Ended, control::Control};
use crate::{
    clock::Clock,
    transport::{Assignment, Fault, Link},
};
use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

/// A worker that is fenced, or replaced, twice within this time has a double.
const DOUBLE: Duration = Duration::from_secs(60);
/// How long a worker has to go on without a fault until those before are forgotten, when it has nothing to commit.
const QUIET: Duration = Duration::from_secs(60);
/// The longest delay between two attempts to go on.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Whose name a worker writes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// Its own: who else has it is a double.
    Alone,
    /// That of whoever has the input: who else has it has taken over.
    InTurn,
}

/// What went wrong since the last commit.
pub(super) struct Trouble {
    name: String,
    writes: Writes,
    control: Arc<Control>,
    clock: Rc<dyn Clock>,
    failures: u32,
    /// When the last of them was over.
    over: Duration,
    said: bool,
    /// The rights that are missing: each is said.
    forbidden: BTreeSet<String>,
    fenced: Option<Duration>,
    replaced: Option<Duration>,
}

impl Trouble {
    /// None yet, for the worker of this name.
    pub(super) fn none(name: &str, writes: Writes, control: &Arc<Control>, clock: &Rc<dyn Clock>) -> Trouble {
        Trouble {
            name: name.to_owned(),
            writes,
            control: control.clone(),
            clock: clock.clone(),
            failures: 0,
            over: Duration::ZERO,
            said: false,
            forbidden: BTreeSet::new(),
            fenced: None,
            replaced: None,
        }
    }

    /// What to do about a fault: this table, and then back to what is committed. `open` is true when something was
    /// under way that will be done again.
    pub(super) fn survive<L: Link>(&mut self, link: &mut L, mut fault: Fault, open: bool) -> Result<Assignment, Ended> {
        loop {
            if let Fault::Unwanted(_) = fault {
                return Err(Ended::Orderly);
            }
            if self.control.stopping() {
                return Err(match fault {
                    Fault::Fatal(why) => Ended::Failed(why),
                    // Nothing was open, so nothing is left undone.
                    _ if !open => Ended::Orderly,
                    other => Ended::Unfinished(format!("{other}: what was not committed will be done again")),
                });
            }
            match &fault {
                Fault::Fatal(why) => return Err(Ended::Failed(why.clone())),
                Fault::Fenced(_) if self.writes == Writes::InTurn => {}
                Fault::Replaced(why) | Fault::Fenced(why) if self.has_double(&fault) => {
                    return Err(Ended::Failed(format!(
                        "another host runs under this worker's name, again and again ({why}): was its state folder \
                         copied? Give each host a state folder of its own, or a name by --instance"
                    )));
                }
                Fault::Unwanted(_)
                | Fault::Replaced(_)
                | Fault::Fenced(_)
                | Fault::Refused(_)
                | Fault::TimedOut(_)
                | Fault::Aborted(_)
                | Fault::Unknown(_)
                | Fault::Unavailable(_)
                | Fault::Forbidden(_) => {}
            }
            self.pause_after(&fault);
            match link.recover() {
                Ok(assignment) => {
                    self.over = self.clock.now();
                    return Ok(assignment);
                }
                Err(next) => fault = next,
            }
        }
    }

    /// A turn went well. After a while of that, it is over.
    pub(super) fn pass(&mut self) {
        // Who has no right may hear no more of it than once: only a commit says that it was given.
        if self.failures > 0 && self.forbidden.is_empty() && self.clock.now() - self.over > QUIET {
            self.end();
        }
    }

    /// It is over: something was committed, or there is nothing to do.
    pub(super) fn end(&mut self) {
        self.forbidden.clear();
        if std::mem::take(&mut self.failures) > 0 && std::mem::take(&mut self.said) {
            self.control.troubles(&self.name, None);
            tracing::info!("{}: goes on", self.name);
        }
    }

    /// Once may be an echo of this worker's own past, as after a broker that was away; twice is somebody else.
    fn has_double(&mut self, fault: &Fault) -> bool {
        let now = self.clock.now();
        let last = match fault {
            Fault::Replaced(_) => &mut self.replaced,
            _ => &mut self.fenced,
        };
        last.replace(now).is_some_and(|before| now - before < DOUBLE)
    }

    /// The first failure is tried again at once, further ones after growing delays; the third is said. A missing right is
    /// said at once: somebody has to give it, and a log may tell of it no more than once.
    fn pause_after(&mut self, fault: &Fault) {
        self.failures += 1;
        let failures = self.failures;
        tracing::debug!("{}: {fault:?}", self.name);
        if self.is_news(fault) {
            self.said = true;
            self.control.troubles(&self.name, Some(fault.to_string()));
            tracing::warn!("{}: cannot go on: {fault}; trying until it can", self.name);
        }
        if failures >= 2 && !matches!(fault, Fault::Refused(_)) {
            let grown = Duration::from_millis(100).saturating_mul(1 << failures.min(10)).min(LONGEST_DELAY);
            self.clock.wait(grown);
        }
    }

    fn is_news(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::Refused(_) => false,
            Fault::Forbidden(why) => self.forbidden.insert(why.clone()),
            _ => self.failures >= 3 && !self.said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Time that goes when somebody waits.
    #[derive(Default)]
    struct Patient(Cell<Duration>);

    impl Clock for Patient {
        fn now(&self) -> Duration {
            self.0.get()
        }

        fn wall_ms(&self) -> i64 {
            0
        }

        fn wait(&self, time: Duration) {
            self.0.set(self.0.get() + time);
        }
    }

    #[test]
    fn each_missing_right_is_news_once_and_silence_says_nothing_of_it() {
        let clock: Rc<dyn Clock> = Rc::new(Patient::default());
        let mut trouble = Trouble::none("w", Writes::Alone, &Arc::default(), &clock);
        let right = |what: &str| Fault::Forbidden(what.to_owned());
        for _ in 0..3 {
            trouble.pause_after(&Fault::Unavailable("nobody answers".into()));
        }
        // Whatever was said before, and however often it comes.
        assert!(trouble.is_news(&right("the group")) && !trouble.is_news(&right("the group")));
        assert!(trouble.is_news(&right("the topic")) && !trouble.is_news(&right("the group")));
        clock.wait(QUIET * 2);
        trouble.pass();
        assert!(trouble.said, "it goes on without its rights");
        trouble.end();
        assert!(!trouble.said && trouble.is_news(&right("the group")));
    }
}
