//! A schedule in which nothing new comes: a time in which anything may go wrong, and a quiet one in which everything must
//! come to its end.

use super::{
    Violation,
    faults::{Counts, Event, Odds},
    simulation::Simulation,
    world::World,
};
use crate::manifest::Delivery;
use fastrand::Rng;
use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

/// How many turns the quiet time may take.
const QUIET_TURNS: usize = 20_000;

/// Plays what the seed draws. At the end `look` may find something wrong that nobody else looks for.
pub(super) fn play(
    seed: u64,
    draw: impl FnOnce(&mut Rng) -> Rc<Simulation>,
    look: impl FnOnce(&World) -> Option<String>,
) -> Result<Counts, Violation> {
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let simulation = draw(&mut rng);
    let worked = std::panic::catch_unwind(AssertUnwindSafe(|| work(&simulation, &mut rng, look)));
    let mut world = simulation.world.borrow_mut();
    let counts = std::mem::take(&mut world.counts);
    let what = match worked {
        Ok(()) => world.audit.violation.take(),
        Err(_) => Some("a worker panicked, as said above".into()),
    };
    let story = world.take_story();
    drop(world);
    simulation.dismiss();
    what.map_or(Ok(counts), |what| Err(Violation { seed, what, story }))
}

fn work(simulation: &Rc<Simulation>, rng: &mut Rng, look: impl FnOnce(&World) -> Option<String>) {
    let turn = || {
        if !simulation.run_any() {
            simulation.pass(Duration::from_millis(50));
        }
        simulation.world.borrow().audit.violation.is_none()
    };
    for _ in 0..rng.usize(40..250) {
        disturb(simulation, rng);
        if !turn() {
            return;
        }
    }
    {
        let mut world = simulation.world.borrow_mut();
        world.odds = Odds::default();
        world.away = Duration::ZERO;
        world.note(|| "all is quiet".into());
    }
    for _ in 0..QUIET_TURNS {
        if !turn() {
            return;
        }
        if simulation.world.borrow().drained() {
            let world = &mut *simulation.world.borrow_mut();
            let is_refused = world.counts.get(Event::RecordRefused) > 0;
            let is_exact = world.settings.delivery == Delivery::ExactlyOnce;
            world.audit.conclude(&world.outputs, is_exact || !is_refused);
            if let Some(what) = look(world) {
                world.audit.blame(what);
            }
            return;
        }
    }
    simulation.world.borrow_mut().audit.blame("stuck: something is missing".into());
}

/// What happens between turns.
fn disturb(simulation: &Rc<Simulation>, rng: &mut Rng) {
    match rng.u32(0..200) {
        0..4 => {
            let mut world = simulation.world.borrow_mut();
            let now = world.now();
            world.note(|| "a rebalance".into());
            world.group.rebalance(now);
        }
        4 => {
            let mut world = simulation.world.borrow_mut();
            world.away = world.now() + Duration::from_millis(rng.u64(0..20_000));
            world.count(Event::BrokerAway);
        }
        5 => {
            let seats = simulation.seats.borrow();
            seats[rng.usize(0..seats.len())].control.borrow().stop();
            simulation.world.borrow_mut().count(Event::AskedToEnd);
        }
        6 if simulation.seats.borrow().len() < 4 => {
            simulation.add_seat(&simulation.new_name(), 3);
        }
        _ => {}
    }
}
