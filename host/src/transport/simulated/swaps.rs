//! What becomes of modules that are swapped in while the production worker works.

use super::{
    faults::{Moment, Strike},
    records::Manners,
    scene::{Scene, settings},
    world::Settings,
};
use crate::{
    swap::{Ended, Looking, Verdict},
    transport::{NextOffset, Offset, Partition},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A worker that waits for records.
fn waiting(workers: &[&str]) -> Scene {
    waiting_with(settings(), workers)
}

fn waiting_with(settings: Settings, workers: &[&str]) -> Scene {
    let scene = Scene::with("", settings);
    for name in workers {
        scene.worker(name);
    }
    scene.until("they have begun", |scene| scene.is_known(4));
    scene
}

fn ended(scene: &Scene, offer: u64) -> Ended {
    scene.until("its trial is over", |scene| scene.verdict(offer).is_some());
    scene.verdict(offer).expect("it is over")
}

fn rolled_back(ended: &Ended) -> &str {
    match &ended.verdict {
        Verdict::RolledBack(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_module_stands_after_so_many_records() {
    let mut scene = waiting(&["a"]);
    let offer = scene.offer("new", Manners::Good, 3, 1000 * SECOND);
    scene.come("0/0: pass pass");
    scene.until("they are done", |scene| scene.outputs().matches('#').count() == 2);
    assert_eq!(scene.verdict(offer), None, "two are not enough");
    scene.come("0/1: pass fan");
    let ended = ended(&scene, offer);
    assert_eq!((&ended.verdict, ended.done.records), (&Verdict::Confirmed, 4));
    let place = |number| Partition { input: 0, number };
    let done = |first, next| (Offset(first), NextOffset(next));
    assert_eq!(ended.done.offsets, [(place(0), done(0, 2)), (place(1), done(0, 2))].into());
    assert_eq!(scene.modules().current().name, "new");
}

#[test]
fn a_good_module_stands_after_some_time_with_a_record() {
    let mut scene = waiting(&["a"]);
    let offer = scene.offer("new", Manners::Good, 1000, SECOND);
    scene.passes(5 * SECOND);
    assert_eq!(scene.verdict(offer), None, "without a record nothing is proven");
    scene.come("0/0: pass");
    let ended = ended(&scene, offer);
    assert_eq!((ended.verdict, ended.done.records), (Verdict::Confirmed, 1));
}

#[test]
fn of_a_module_that_falls_in_its_first_transaction_nothing_stands() {
    for done_before in 0..5 {
        let mut scene = waiting(&["a"]);
        // Whatever of it could be read, nobody asked for, and who looks on would say so.
        let offer = scene.offer("new", Manners::Garbles(done_before), 1000, 1000 * SECOND);
        scene.come("0/0: pass pass fault pass pass pass pass");
        let ended = ended(&scene, offer);
        assert!(rolled_back(&ended).contains("fault fell: it says so, and not with the module before"), "{ended:?}");
        assert_eq!((ended.done.records, ended.done.offsets.len()), (0, 0));
        scene.ends_with("main: 0/0#0 0/0#1 0/0#3 0/0#4 0/0#5 0/0#6; letters: 0/0#2");
        assert_eq!(scene.modules().current().name, "first");
    }
}

#[test]
fn what_was_committed_before_a_module_fell_stays_and_is_told() {
    let mut scene = waiting(&["a", "b"]);
    let offer = scene.offer("new", Manners::FallsAfter(3), 1000, 1000 * SECOND);
    scene.come("0/0: pass pass");
    scene.until("they are done", |scene| scene.outputs().matches('#').count() == 2);
    scene.come("0/0: pass pass pass");
    let ended = ended(&scene, offer);
    rolled_back(&ended);
    assert_eq!(ended.done.offsets, [(Partition { input: 0, number: 0 }, (Offset(0), NextOffset(2)))].into());
    scene.ends_with("main: 0/0#0 0/0#1 0/0#2 0/0#3 0/0#4");
}

#[test]
fn a_record_that_the_module_before_does_not_do_either_is_itself_to_blame() {
    let mut scene = waiting(&["a"]);
    let offer = scene.offer("new", Manners::Good, 6, 1000 * SECOND);
    scene.come("0/0: fault reject limit poison pass pass");
    let ended = ended(&scene, offer);
    assert_eq!(ended.verdict, Verdict::Confirmed);
    scene.ends_with("main: 0/0#4 0/0#5; letters: 0/0#0 0/0#1 0/0#2 0/0#3");
}

#[test]
fn a_module_that_does_not_start_in_a_worker_is_rolled_back() {
    let mut scene = waiting(&["a"]);
    let offer = scene.offer("new", Manners::Refuses, 6, 1000 * SECOND);
    scene.come("0/0: pass");
    assert_eq!(rolled_back(&ended(&scene, offer)), "it does not start");
    scene.ends_with("main: 0/0#0");
}

#[test]
fn a_module_that_rejects_most_of_what_the_one_before_takes_is_rolled_back() {
    // What it rejects, it should not.
    let mut scene = waiting_with(Settings { audited: false, ..settings() }, &["a"]);
    let offer = scene.offer("new", Manners::Strict, 3, 1000 * SECOND);
    scene.come("0/0: pass pass pass");
    assert_eq!(rolled_back(&ended(&scene, offer)), "it rejects 3 of 3 records that the module before takes");
    scene.come("0/0: pass");
    scene.until("the one before goes on", |scene| scene.outputs().contains("main: 0/0#3"));
}

#[test]
fn a_first_transaction_that_is_aborted_is_tried_again() {
    let mut scene = waiting(&["a", "b"]);
    let offer = scene.offer("new", Manners::Good, 2, 1000 * SECOND);
    scene.strike("a", Moment::End, Strike::Fail);
    scene.strike("b", Moment::End, Strike::Fail);
    scene.come("0/0: pass pass; 1/0: pass pass");
    assert_eq!(ended(&scene, offer).verdict, Verdict::Confirmed);
    scene.ends_with("main: 0/0#0 0/0#1 1/0#0 1/0#1");
}

#[test]
fn whoever_is_asked_goes_back_to_the_module_before() {
    let mut scene = waiting(&["a"]);
    let offer = scene.offer("new", Manners::Good, 1, 1000 * SECOND);
    scene.come("0/0: pass");
    assert_eq!(ended(&scene, offer).verdict, Verdict::Confirmed);
    let back = scene.modules().roll_back("by hand", None).expect("there is one before");
    assert_eq!((back.from.name.as_str(), back.to.name.as_str(), back.was_on_trial), ("new", "first", false));
    scene.come("0/0: pass pass");
    scene.ends_with("main: 0/0#0 0/0#1 0/0#2");
    assert_eq!(scene.modules().current().name, "first");
}

#[test]
fn only_one_module_is_on_trial_but_one_that_nobody_tried_makes_room() {
    let mut scene = waiting(&["a"]);
    let first = scene.offer("one", Manners::Good, 1000, 1000 * SECOND);
    let second = scene.offer("two", Manners::Good, 1000, 1000 * SECOND);
    scene.come("0/0: pass");
    scene.ends_with("main: 0/0#0");
    let withdrawn = Verdict::Withdrawn("another module took its place".into());
    assert_eq!((scene.verdict(first).map(|ended| ended.verdict), scene.verdict(second)), (Some(withdrawn), None));
    let (version, done) = scene.modules().trial().expect("one is on trial");
    assert_eq!((version.name.as_str(), done.records), ("two", 1));
}

/// Records of every kind, and what becomes of them.
const ALL: &str = "0/0: pass fan drop stumble retry1 reject pass; 1/1: pass fault limit sour1 pass";
const ALL_DONE: &str =
    "main: 0/0#0 0/0#1 0/0#3 1/1#0 0/0#4 0/0#6 1/1#4; large: 0/0#1; letters: 1/1#1 1/1#2 0/0#5 1/1#3";

/// The places in an order of their own.
fn sorted(outputs: &str) -> Vec<Vec<&str>> {
    outputs
        .split("; ")
        .map(|topic| {
            let mut words: Vec<_> = topic.split(' ').collect();
            words.sort_unstable();
            words
        })
        .collect()
}

#[test]
fn whatever_a_module_that_looks_on_does_the_stage_does_what_it_did() {
    let all = [
        (Manners::Good, 0),
        (Manners::FallsAfter(0), 6),
        (Manners::Garbles(100), 7),
        (Manners::Strict, 6),
        (Manners::Endless, 7),
        (Manners::Refuses, 0),
    ];
    for (manners, least) in all {
        let mut scene = waiting(&["a", "b"]);
        scene.look_on("new", manners, 1000);
        scene.come(ALL);
        scene.until("all is done", |scene| scene.outputs().matches('#').count() == ALL_DONE.matches('#').count());
        assert_eq!(sorted(&scene.outputs()), sorted(ALL_DONE), "{manners:?}");
        let looked = scene.looked();
        assert_eq!(scene.modules().current().name, "first");
        match manners {
            Manners::Refuses => assert_eq!(&looked.state, &Looking::Ended("it does not start".into())),
            _ => assert_eq!((looked.records, &looked.state), (12, &Looking::Running), "{manners:?}"),
        }
        assert!(looked.different >= least && (looked.different == 0) == (least == 0), "{manners:?}: {looked:?}");
    }
}

#[test]
fn what_was_looked_at_counts_when_it_is_committed_and_no_more_than_was_asked_for() {
    let mut scene = waiting(&["a", "b"]);
    scene.look_on("new", Manners::Garbles(100), 5);
    for (name, moment) in [("a", Moment::End), ("b", Moment::End), ("a", Moment::Send), ("b", Moment::Send)] {
        scene.strike(name, moment, Strike::Fail);
    }
    scene.come("0/0: pass pass pass; 1/0: pass pass pass");
    scene.ends_with("main: 0/0#0 0/0#1 0/0#2 1/0#0 1/0#1 1/0#2");
    let looked = scene.looked();
    assert_eq!((looked.records, looked.different, looked.state), (5, 5, Looking::Done));
    let mut places: Vec<_> = looked.first.iter().map(|first| (first.partition, first.offset)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 5, "{places:?}");
    let first = &looked.first[0];
    let value = |outcome: &crate::stage::Outcome| outcome.made[0].value.clone().unwrap_or_default();
    assert_eq!([value(&first.before), b"?".to_vec()].concat(), value(&first.after));
}

#[test]
fn a_module_that_runs_into_its_limits_looks_on_for_some_records_alone() {
    let mut scene = waiting(&["a"]);
    scene.look_on("new", Manners::Endless, 1000);
    for record in 0..30 {
        scene.come("0/0: pass");
        scene.until("it is done", |scene| scene.outputs().matches('#').count() == record + 1);
    }
    let looked = scene.looked();
    // The tenth time was its last: what comes of that transaction is another matter.
    assert_eq!((looked.records, looked.different, looked.first.len()), (9, 9, 9));
    assert!(matches!(looked.state, Looking::Ended(why) if why.contains("ran into its limits 10 times")));
}

#[test]
fn a_module_that_looks_on_takes_no_more_than_some_time_of_each_transaction() {
    let settings = Settings { commit_interval: 20 * SECOND, transaction_timeout: 100 * SECOND, ..settings() };
    let mut scene = waiting_with(settings, &["a"]);
    scene.look_on("new", Manners::Dawdles, 1000);
    scene.come("0/0: pass pass pass pass pass pass pass pass");
    scene.until("they are done", |scene| scene.outputs().matches('#').count() == 8);
    let looked = scene.looked();
    assert_eq!((looked.records, looked.different, looked.state), (2, 0, Looking::Running));
}

#[test]
fn a_module_looks_on_until_another_one_does_or_one_is_on_trial() {
    let mut scene = waiting(&["a"]);
    scene.look_on("one", Manners::Good, 10);
    scene.come("0/0: pass");
    scene.until("it is done", |scene| scene.looked().records == 1);
    scene.look_on("two", Manners::Good, 2);
    scene.come("0/0: pass pass pass");
    scene.until("they are done", |scene| scene.outputs().matches('#').count() == 4);
    let looked = scene.looked();
    assert_eq!((looked.version.name.as_str(), looked.records, looked.state), ("two", 2, Looking::Done));
    scene.look_on("three", Manners::Good, 2);
    let offer = scene.offer("four", Manners::Good, 1, 1000 * SECOND);
    assert_eq!(scene.looked().state, Looking::Ended("a module is on trial".into()));
    let another = || crate::swap::Version::new("x", "x", || Err("never".into()));
    assert_eq!(scene.modules().look_on(another(), 1), Err(crate::swap::Unwanted::Busy));
    scene.come("0/0: pass");
    assert_eq!(ended(&scene, offer).verdict, Verdict::Confirmed);
    scene.look_on("five", Manners::Good, 2);
    assert!(scene.modules().look_away("by hand", Some("four")).is_none());
    assert!(scene.modules().look_away("by hand", Some("five")).is_some());
    assert_eq!(scene.modules().current().name, "four");
    let probation = crate::swap::Probation::default();
    let late = scene.modules().offer(another(), probation, Some("three"));
    assert_eq!(late, Err(crate::swap::Unwanted::Other("four".into())));
    scene.look_on("six", Manners::Good, 2);
    scene.modules().roll_back("by hand", None).expect("there is one before");
    assert_eq!(scene.looked().state, Looking::Ended("somebody rolled back".into()));
}
