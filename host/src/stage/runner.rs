//! Whom a stage hands its records to: its guest, and, as long as that one is on trial, the guest before it beside it.

use super::guest::Guest;
use crate::{
    swap::{Seat, Tried, Version},
    transport::{Fault, Progress},
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

/// A worker's seat, and what it runs there.
struct Seated {
    seat: Seat,
    version: Arc<Version>,
    /// The one before, kept warm while this one is on trial.
    before: Option<(Arc<Version>, Box<dyn Guest>)>,
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
        Ok(Runner { guest, seated: Some(Seated { seat, version, before: None }) })
    }

    pub(super) fn guest(&mut self) -> &mut dyn Guest {
        &mut *self.guest
    }

    /// The guest before, while this one is on trial.
    pub(super) fn before(&mut self) -> Option<&mut dyn Guest> {
        let (_, guest) = self.seated.as_mut()?.before.as_mut()?;
        Some(&mut **guest)
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.seated.as_ref().is_some_and(|seated| seated.before.is_some())
    }

    /// True when the guest may have to change.
    pub(super) fn is_called(&self, has_records: bool) -> bool {
        self.seated.as_ref().is_some_and(|seated| seated.seat.is_called(has_records))
    }

    /// Changes the guest, if it is to be changed: between two transactions. The digest of the one that runs then, when it
    /// is another one.
    pub(super) fn change(&mut self, has_records: bool, since: Instant) -> Result<Option<String>, Fault> {
        let Some(Seated { seat, version, before }) = &mut self.seated else { return Ok(None) };
        let orders = seat.orders(has_records);
        if Arc::ptr_eq(&orders.version, version) {
            if !orders.on_trial {
                *before = None;
            }
            return Ok(None);
        }
        let guest = match before.take() {
            Some((kept, guest)) if Arc::ptr_eq(&kept, &orders.version) => guest,
            kept => match orders.version.start() {
                Ok(guest) => guest,
                Err(why) if orders.on_trial => {
                    *before = kept;
                    seat.blame(&orders.version, &why);
                    return Ok(None);
                }
                Err(why) => return Err(Fault::Fatal(why)),
            },
        };
        let former = (std::mem::replace(version, orders.version), std::mem::replace(&mut self.guest, guest));
        *before = orders.on_trial.then_some(former);
        seat.runs(version, since.elapsed());
        Ok(Some(version.digest.clone()))
    }

    /// What was done on trial is committed.
    pub(super) fn committed(&self, tried: &Tried, progress: &Progress, now: Duration) {
        if let Some(Seated { seat, version, .. }) = &self.seated
            && tried.records > 0
        {
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
    }
}
