//! A second process of a manifest joins the first: what both copy from then on, beside what one copies alone.

use super::{
    lab::{Arm, Delivery, Lab},
    run::rate,
    table::{Spread, ratios},
};
use anyhow::Result;

/// Measures both in turn.
pub(super) fn run(records: u64, rounds: usize) -> Result<()> {
    let lab = Lab::set_up()?;
    lab.native(&["load", lab.broker(), "in", "--records", &records.to_string(), "--size", "100"])?;
    // The first run pays for what nobody has done before.
    copy(&lab, records, false)?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let mut arms = [0, 1];
        arms.rotate_left(round % 2);
        for arm in arms {
            let rate = copy(&lab, records, arm == 1)?;
            eprintln!("  round {}, {} at work: {rate:.0}/s", round + 1, arm + 1);
            rates[arm].push(rate);
        }
    }
    println!("{records} records of 100 B, exactly once, {rounds} rounds; records/s of the last three quarters");
    println!("  one process       {}", Spread::of(&rates[0]).whole());
    println!("  a second one joins {}", Spread::of(&rates[1]).whole());
    println!("  two / one          {}", Spread::of(&ratios(&rates[1], &rates[0])).fine());
    Ok(())
}

/// Copies all; how fast it went behind the first quarter, when the second process is started.
fn copy(lab: &Lab, records: u64, joined: bool) -> Result<f64> {
    let job = lab.job("in", Delivery::ExactlyOnce);
    lab.native(&["make", lab.broker(), &job.output, "--fresh"])?;
    let mut observer = lab.observe(&job, records)?;
    let mut first = lab.spawn(Arm::Host, &job)?;
    let begun = loop {
        let seen = first.explain(observer.next())?;
        if seen.records >= records / 4 {
            break seen;
        }
    };
    let mut second = joined.then(|| lab.spawn_as(Arm::Host, &job, "second")).transpose()?;
    let done = loop {
        let seen = first.explain(observer.next())?;
        if seen.records >= records {
            break seen;
        }
    };
    first.end()?;
    second.iter_mut().try_for_each(|second| second.end())?;
    lab.check(&job.output, records)?;
    Ok(rate(begun, done))
}
