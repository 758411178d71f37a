//! `dead-letters retry --dry-run`: what would come of the letters, on stdout. No group moves, and nothing is written.

use crate::{
    cli::{
        say,
        scan::{scan, whole},
    },
    clock::SystemClock,
    plan::{Part, Plan, Work},
    stage::{Counts, Stage},
    transport::{Batch, Incoming, Role, log::Log},
    wasm::Instance,
    worker::control::Control,
};
use anyhow::{Context, Result, anyhow};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    rc::Rc,
    sync::Arc,
};

/// Runs the letters of a plan through its stage, and prints what comes of them; what became of them.
pub(super) fn run(plan: Plan, log: &Log, stands: &BTreeMap<u32, u64>) -> Result<Counts> {
    let part = plan.parts.into_iter().next();
    let Some(Part { link, again: Some(again), work: Work::Stage { compiled, setup, settings, .. }, .. }) = part else {
        return Err(anyhow!("a defect of the host: nothing is to be tried again"));
    };
    let topic = link.inputs.first().context("a defect of the host: nothing is read")?;
    let instance = Instance::new(&compiled, setup)?;
    let clock = Rc::new(SystemClock::new(Arc::new(Control::default())));
    let mut stage = Stage::new(settings.clone(), Box::new(instance), clock, Arc::default());
    let mut counts = Counts::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    scan(log, &whole(topic), None, &mut |batch, _| {
        let letters = Rc::new(again.read(batch));
        for index in 0..letters.len() {
            let Incoming { partition, offset, .. } = letters.get(index);
            if stands.get(&partition.number).is_some_and(|next| offset.0 < *next) {
                continue;
            }
            if again.most.is_some_and(|most| counts.tried() >= most) {
                return Ok(false);
            }
            counts.taken += 1;
            let attempts = match letters.role(index) {
                Role::First => 0,
                Role::Again { attempts } => attempts,
                Role::Left(why) => {
                    counts.left += 1;
                    why.into_iter().for_each(|why| say(&format!("left: {why}\n")));
                    continue;
                }
                Role::Foreign => {
                    counts.foreign += 1;
                    continue;
                }
            };
            let outcome = stage.outcome(&letters, index, attempts.saturating_add(1))?;
            let mut lines = Vec::new();
            outcome.made.iter().for_each(|made| made.write(&mut lines));
            counts.sent += outcome.made.len() as u64;
            out.write_all(&lines)?;
            if let Some(failed) = outcome.lost {
                counts.dead_letters += 1;
                out.flush()?;
                let (partition, offset) = letters.origin(index);
                let from = &settings.inputs[partition.input];
                say(&format!("{from}/{}@{}: {failed}\n", partition.number, offset.0));
            }
        }
        Ok(true)
    })?;
    out.flush()?;
    Ok(counts)
}
