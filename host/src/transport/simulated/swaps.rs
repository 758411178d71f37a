//! What becomes of modules that are swapped in while the production worker works.

use super::{
    faults::{Moment, Strike},
    records::Manners,
    scene::{Scene, settings},
    world::Settings,
};
use crate::{
    swap::{Ended, Verdict},
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
