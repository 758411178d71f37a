//! A topic that is full of poison: the stage stops in front of it, and goes on where it stood when it is told to.

use crate::support::Pipeline;
use std::time::Duration;

/// With what stands under `on-error`.
fn manifest(on_error: &str) -> String {
    let stage = "{module: '{guests}/trial.wasm', input: in, output: out, commit-interval: 5ms, on-error: ERROR}";
    format!("topics: {{in: {{partitions: 1}}}}\nstages:\n  price: {}\n", stage.replace("ERROR", on_error))
}

#[test]
fn a_stage_stops_before_a_poisoned_topic_is_drained_into_its_dead_letters() {
    let pipeline = Pipeline::new(&manifest("dead-letter"));
    pipeline.says("topics create in");
    let values: Vec<_> = (0..300).map(|_| "fine".to_owned()).chain((0..500).map(|_| "reject".to_owned())).collect();
    let lines: Vec<_> = values.iter().enumerate().map(|(number, value)| format!("{number}:{value}")).collect();
    pipeline.produce("in", &lines);
    let letters = || pipeline.records("test.price.dead-letter");

    // As often as it is started: it stops again, and says why.
    for (start, of) in [(1, 400), (2, 100)] {
        let mut host = pipeline.run("--until-idle");
        assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1), "{}", host.said());
        let at = 300 + start * 99;
        let why = format!(
            "price: stopped in front of in/0@{at}: 100 of the last {of} records failed, this one with reject asked: \
             asked to reject."
        );
        assert!(host.said().contains(&why), "{}", host.said());
        assert_eq!(letters().len(), start * 99);
        assert_eq!(pipeline.values("out").len(), 300);
        assert!(pipeline.says("offsets show test.price").contains(&format!(" {at} ")));
    }

    // Whoever wants them all as dead letters gets each of them once.
    pipeline.write(&manifest("{stop-when: never}"));
    pipeline.drain();
    let letters = letters();
    let keys: Vec<_> = letters.iter().map(|letter| letter["key"].as_str().unwrap().parse::<usize>().unwrap()).collect();
    assert_eq!(keys, (300..800).collect::<Vec<_>>());
}
