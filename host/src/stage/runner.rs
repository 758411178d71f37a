//! Whom a stage hands its records to: its guest, and beside it the guest before it, as long as that one is on trial, or
//! one that only looks on.

use super::guest::Guest;
use crate::{
    swap::{Seat, Tried, Version, Watched},
    transport::Progress,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A guest, and how it is changed for another.
pub(super) struct Runner {
    guest: Box<dyn Guest>,
    seated: Option<Seated>,
}

/// The guest has changed.
pub(super) struct Changed {
    /// The digest of the module that runs now.
    pub(super) digest: String,
    /// The one before was on trial, and has lost.
    pub(super) has_lost: bool,
}

/// A worker's seat, and what it runs there.
struct Seated {
    seat: Seat,
    version: Arc<Version>,
    /// The one before, kept warm while this one is on trial.
    before: Option<(Arc<Version>, Box<dyn Guest>)>,
    /// One that looks on.
    shadow: Option<Shadow>,
}

/// A guest that looks on.
pub(super) struct Shadow {
    /// Which one it is of those that did.
    pub(super) number: u64,
    /// On so many records, over all workers.
    pub(super) of: u64,
    pub(super) guest: Box<dyn Guest>,
}

impl Runner {
    /// A guest that is never changed.
    pub(super) fn of(guest: Box<dyn Guest>) -> Runner {
        Runner { guest, seated: None }
    }

    /// The guest that the seat's stage runs, now and later.
    pub(super) fn at(seat: Seat) -> Result<Runner, String> {
        // Whatever is on trial comes later, so that there is one before it.
        let version = seat.standing();
        let guest = version.start()?;
        seat.runs(&version, Duration::ZERO);
        Ok(Runner { guest, seated: Some(Seated { seat, version, before: None, shadow: None }) })
    }

    pub(super) fn guest(&mut self) -> &mut dyn Guest {
        &mut *self.guest
    }

    /// See [`Guest::is_full`].
    pub(super) fn is_full(&self) -> bool {
        self.guest.is_full()
    }

    /// The guest before, while this one is on trial.
    pub(super) fn before(&mut self) -> Option<&mut dyn Guest> {
        let (_, guest) = self.seated.as_mut()?.before.as_mut()?;
        Some(&mut **guest)
    }

    /// The guest that looks on.
    pub(super) fn shadow(&mut self) -> Option<&mut Shadow> {
        self.seated.as_mut()?.shadow.as_mut()
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.seated.as_ref().is_some_and(|seated| seated.before.is_some())
    }

    /// True when the guest may have to change.
    pub(super) fn is_called(&self, has_records: bool) -> bool {
        self.seated.as_ref().is_some_and(|seated| seated.seat.is_called(has_records))
    }

    /// Changes the guest, if it is to be changed: between two transactions.
    pub(super) fn change(&mut self, has_records: bool, since: Instant) -> Option<Changed> {
        let has_lost = self.has_lost();
        let Seated { seat, version, before, shadow } = self.seated.as_mut()?;
        let orders = seat.orders(has_records);
        if Arc::ptr_eq(&orders.version, version) {
            if orders.before.is_none() {
                *before = None;
            }
            look_on(shadow, orders.shadow.as_ref(), seat);
            return None;
        }
        // It is compared with the one that stands, and with no other.
        *shadow = None;
        let guest = match before.take() {
            Some((kept, guest)) if Arc::ptr_eq(&kept, &orders.version) => Ok(guest),
            kept => {
                *before = kept;
                orders.version.start()
            }
        };
        let guest = match guest {
            Ok(guest) => guest,
            Err(why) if orders.before.is_some() => {
                seat.blame(&orders.version, &why);
                return None;
            }
            Err(why) => {
                // What it has works, which is more than can be said of the other.
                tracing::error!("a worker goes on with {}: {} {why}; trying again", version.name, orders.version.name);
                seat.ask_again();
                return None;
            }
        };
        let former = (std::mem::replace(version, orders.version), std::mem::replace(&mut self.guest, guest));
        // The one that stands, which may be the one that ran, or the one that was kept beside that.
        *before = orders.before.and_then(|standing| {
            let known = [Some(former), before.take()].into_iter().flatten();
            let kept = known.into_iter().find(|(version, _)| Arc::ptr_eq(version, &standing));
            kept.or_else(|| Some((standing.clone(), standing.start().ok()?)))
        });
        look_on(shadow, orders.shadow.as_ref(), seat);
        seat.runs(version, since.elapsed());
        Some(Changed { digest: version.digest.clone(), has_lost })
    }

    /// True when what was done by a module on trial is not to be committed, as that has lost meanwhile.
    pub(super) fn has_lost(&self) -> bool {
        let has_lost = |seated: &Seated| seated.before.is_some() && !seated.seat.is_wanted(&seated.version);
        self.seated.as_ref().is_some_and(has_lost)
    }

    /// The shadow with this number ran into its limits.
    pub(super) fn exceeds(&self, number: u64) {
        if let Some(Seated { seat, .. }) = &self.seated {
            seat.exceeds(number);
        }
    }

    /// What was looked at is committed.
    pub(super) fn watched(&self, watched: &mut Watched) {
        if let Some(Seated { seat, .. }) = &self.seated {
            seat.watched(watched);
        }
    }

    /// What was done on trial is committed.
    pub(super) fn committed(&self, tried: &Tried, progress: &Progress, now: Duration) {
        if let Some(Seated { seat, version, before: Some(_), .. }) = &self.seated {
            seat.committed(version, tried, progress, now);
        }
    }

    /// A probation may be over by its time alone.
    pub(super) fn look(&self, now: Duration) {
        if let Some(Seated { seat, before: Some(_), .. }) = &self.seated {
            seat.look(now);
        }
    }

    /// The guest on trial did what the one before does not.
    pub(super) fn blame(&self, why: &str) {
        if let Some(Seated { seat, version, .. }) = &self.seated {
            seat.blame(version, why);
        }
    }

    /// What the worker holds may be another's by now.
    pub(super) fn let_go(&self) {
        if let Some(Seated { seat, .. }) = &self.seated {
            seat.let_go();
        }
    }

    /// See [`Guest::withdraw`].
    pub(super) fn withdraw(&mut self) {
        self.guest.withdraw();
        if let Some(before) = self.before() {
            before.withdraw();
        }
        if let Some(shadow) = self.shadow() {
            shadow.guest.withdraw();
        }
    }
}

/// The guest that is to look on; where it does not start, that is all that is known of it.
fn look_on(shadow: &mut Option<Shadow>, wanted: Option<&(u64, Arc<Version>, u64)>, seat: &Seat) {
    let Some((number, version, of)) = wanted else {
        *shadow = None;
        return;
    };
    if shadow.as_ref().is_some_and(|shadow| shadow.number == *number) {
        return;
    }
    *shadow = match version.start() {
        Ok(guest) => Some(Shadow { number: *number, of: *of, guest }),
        Err(why) => {
            seat.does_not_look_on(*number, &why);
            None
        }
    };
}
