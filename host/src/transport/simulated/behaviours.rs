//! What a worker does when something goes wrong, one sentence a test.
//!
//! Records are written as `0/1: pass !(pass) fan`: in partition 1 of input 0 a record, an aborted transaction with
//! one, another record; `(…)` is a committed transaction. A record is named by its place, and so is what comes of it:
//! `main: 0/1#0 0/1#4` are the outputs of the records at the offsets 0 and 4. Workers are `a` and `b`.

use super::{
    faults::{Event, Moment, Strike},
    scene::{Scene, failed, on_error, settings},
    world::Settings,
};
use crate::{
    manifest::{Delivery, Policy, Start, StopWhen},
    worker::Ended,
};
use std::time::Duration;

/// Longer than a session, a transaction and a rebalance may take.
const LONG: Strike = Strike::Stall(Duration::from_secs(40));

#[test]
fn a_zombie_that_wakes_after_its_partitions_moved_commits_nothing() {
    for moment in [Moment::Begin, Moment::Send, Moment::Flush, Moment::Offsets] {
        let scene = Scene::comes_to_a("0/0: pass pass", settings());
        scene.comes_soon("b");
        scene.strike("a", moment, LONG);
        scene.ends_with("main: 0/0#0 0/0#1");
        assert!(scene.happened(Event::SessionLost));
        assert!(scene.happened(Event::OldGeneration) || scene.happened(Event::TransactionExpired));
    }
}

#[test]
fn a_zombie_whose_transaction_is_young_is_refused_by_the_group() {
    let scene = Scene::comes_to_a("0/0: pass pass", settings());
    scene.comes_soon("b");
    scene.strike("a", Moment::Begin, LONG);
    scene.ends_with("main: 0/0#0 0/0#1");
    assert!(scene.happened(Event::OldGeneration));
}

#[test]
fn a_transaction_that_took_too_long_is_done_again() {
    let scene = Scene::comes_to_a("0/0: pass fan", settings());
    scene.strike("a", Moment::End, LONG);
    scene.ends_with("main: 0/0#0 0/0#1; large: 0/0#1");
    assert!(scene.happened(Event::TransactionExpired));
}

#[test]
fn a_transaction_that_is_too_large_for_its_time_is_done_in_smaller_ones() {
    let mut settings = settings();
    settings.most_in_time = 3;
    let scene = Scene::comes_to_a("0/0: pass pass pass pass pass pass pass pass", settings);
    scene.ends_with("main: 0/0#0 0/0#1 0/0#2 0/0#3 0/0#4 0/0#5 0/0#6 0/0#7");
    assert!(scene.happened(Event::TooLarge));
}

#[test]
fn an_unknown_outcome_that_was_committed_is_not_repeated() {
    let scene = Scene::comes_to_a("0/0: pass pass", settings());
    scene.strike("a", Moment::Answer, Strike::Fail);
    scene.ends_with("main: 0/0#0 0/0#1");
    assert!(scene.happened(Event::UnknownCommitted));
}

#[test]
fn an_unknown_outcome_that_was_not_committed_is_done_again() {
    let scene = Scene::comes_to_a("0/0: pass pass", settings());
    scene.strike("a", Moment::End, Strike::Fail);
    scene.ends_with("main: 0/0#0 0/0#1");
    assert!(scene.happened(Event::UnknownLost) && scene.happened(Event::Aborted));
}

#[test]
fn a_commit_that_arrives_late_counts_once_or_not_at_all() {
    let scene = Scene::comes_to_a("0/0: pass pass", settings());
    scene.strike("a", Moment::End, Strike::Late);
    scene.ends_with("main: 0/0#0 0/0#1");
    assert!(scene.happened(Event::UnknownLate));
}

#[test]
fn a_worker_that_is_killed_anywhere_loses_and_doubles_nothing() {
    use Moment::{Answer, Begin, End, Flush, Offsets, Send, Take};
    for moment in [Take, Begin, Send, Flush, Offsets, End, Answer] {
        let scene = Scene::comes_to_a("0/0: pass fan; 1/1: reject", settings());
        scene.strike("a", moment, Strike::Kill);
        scene.ends_with("main: 0/0#0 0/0#1; large: 0/0#1; letters: 1/1#0");
        assert!(scene.happened(Event::Killed));
    }
}

#[test]
fn a_worker_that_is_killed_while_it_begins_is_replaced() {
    for moment in [Moment::Init, Moment::Rebalance, Moment::Starts] {
        let scene = Scene::with("0/0: pass fan; 1/1: reject", settings());
        scene.worker("a");
        scene.strike("a", moment, Strike::Kill);
        scene.ends_with("main: 0/0#0 0/0#1; large: 0/0#1; letters: 1/1#0");
        assert!(scene.happened(Event::Killed));
    }
}

#[test]
fn a_rebalance_in_a_transaction_loses_and_doubles_nothing() {
    let mut scene = Scene::comes_to_a("0/0: pass pass", settings());
    scene.strike("a", Moment::Flush, Strike::Meanwhile);
    scene.worker("b");
    scene.until("b came", |scene| scene.happened(Event::Meanwhile));
    scene.come("0/0: pass");
    scene.ends_with("main: 0/0#0 0/0#1 0/0#2");
}

#[test]
fn a_partition_waits_for_its_retried_record_while_others_go_on() {
    let scene = Scene::with("0/0: pass retry2 pass; 0/1: pass pass", settings());
    scene.worker("a");
    scene.ends_with("main: 0/0#0 0/1#0 0/1#1 0/0#1 0/0#2");
}

#[test]
fn the_end_behind_a_record_that_waits_is_no_progress() {
    // The batch that reported the end of 0/0 is not done yet when 0/0 goes back to its record.
    let scene = Scene::with("0/0: retry1 pass; 0/1: slow slow", settings());
    scene.worker("a");
    scene.ends_with("main: 0/1#0 0/1#1 0/0#0 0/0#1");
}

#[test]
fn a_record_the_log_refuses_becomes_a_dead_letter_and_the_rest_go_through() {
    let scene = Scene::with("0/0: pass pass poison pass pass", settings());
    scene.worker("a");
    scene.ends_with("main: 0/0#0 0/0#1 0/0#3 0/0#4; letters: 0/0#2");
}

#[test]
fn refused_records_of_two_partitions_are_both_found() {
    let scene = Scene::with("0/0: pass poison pass; 0/1: poison pass; 1/0: poison", settings());
    scene.worker("a");
    scene.ends_with("main: 0/0#0 0/0#2 0/1#1; letters: 0/0#1 0/1#0 1/0#0");
}

#[test]
fn a_record_that_waits_does_not_hide_a_refused_one() {
    let scene = Scene::with("0/0: retry3 pass; 0/1: pass poison", settings());
    scene.worker("a");
    scene.ends_with("main: 0/1#0 0/0#0 0/0#1; letters: 0/1#1");
}

#[test]
fn a_dead_letter_that_is_refused_ends_the_worker() {
    let mut settings = settings();
    settings.strict = false;
    let scene = Scene::with("0/0: pass cursed", settings);
    let a = scene.worker("a");
    assert!(failed(&scene.end_of(&a)).starts_with("not even a dead letter can be written"));
    assert_eq!(scene.outputs(), "main: 0/0#0");
}

#[test]
fn a_stage_that_stops_at_errors_commits_what_came_before() {
    let mut settings = settings();
    settings.strict = false;
    settings.on_error = on_error(Policy::Stop);
    let scene = Scene::with("0/0: pass reject pass", settings);
    let a = scene.worker("a");
    assert!(failed(&scene.end_of(&a)).starts_with("0/0@1: reject"));
    scene.passes(Duration::from_secs(1));
    assert_eq!(scene.outputs(), "main: 0/0#0");
}

#[test]
fn each_kind_of_failure_has_a_policy_of_its_own() {
    let mut settings = settings();
    settings.strict = false;
    settings.on_error.reject = Policy::Skip;
    settings.on_error.limit = Policy::Stop;
    let scene = Scene::with("0/0: reject fault pass limit pass", settings);
    let a = scene.worker("a");
    assert!(failed(&scene.end_of(&a)).starts_with("0/0@3: limit"));
    scene.passes(Duration::from_secs(1));
    assert_eq!(scene.outputs(), "main: 0/0#2; letters: 0/0#1");
}

/// What asks for it again is tried again for twelve seconds.
fn with_an_end() -> Settings {
    let mut settings = settings();
    settings.on_error.retry.give_up_after = Duration::from_secs(12);
    settings.on_error.retry_then = Policy::DeadLetter;
    settings
}

#[test]
fn a_record_that_is_tried_in_vain_is_given_up_when_its_time_is_over() {
    let scene = Scene::comes_to_a("0/0: tired pass; 0/1: pass pass", with_an_end());
    let begun = scene.now();
    scene.ends_with("main: 0/1#0 0/1#1 0/0#1; letters: 0/0#0");
    // It wishes for five seconds each time; the last time there are only two left.
    assert_eq!([scene.letter("kind"), scene.letter("attempts")], ["retry", "4"]);
    assert!((12..13).contains(&(scene.now() - begun).as_secs()), "{:?}", scene.now() - begun);
}

#[test]
fn what_is_given_up_in_a_transaction_that_is_aborted_is_not_tried_for_as_long_again() {
    let scene = Scene::comes_to_a("0/0: tired pass", with_an_end());
    let begun = scene.now();
    scene.until("its time is almost over", |scene| scene.now() - begun > Duration::from_secs(11));
    scene.strike("a", Moment::End, Strike::Fail);
    scene.ends_with("main: 0/0#1; letters: 0/0#0");
    assert!(scene.happened(Event::UnknownLost));
    assert_eq!(scene.retries(), 3, "it went on where it was");
}

/// A stage that stops when three of so many records died.
fn three_of(of: u64) -> Settings {
    let mut settings = settings();
    settings.strict = false;
    settings.on_error.stop_when = Some(StopWhen { dead_letters: 3, of });
    settings
}

#[test]
fn a_stage_most_of_whose_records_die_stops_in_front_of_the_next_one() {
    let scene = Scene::with("0/0: reject pass fault pass pass pass reject reject limit pass", three_of(5));
    let a = scene.worker("a");
    let end = scene.end_of(&a);
    let why =
        "stopped in front of 0/0@8: 3 of the last 5 records failed, this one with limit limit: 0/0#8 said so. What";
    assert!(failed(&end).starts_with(why), "{end:?}");
    scene.passes(Duration::from_secs(1));
    assert_eq!(scene.outputs(), "main: 0/0#1 0/0#3 0/0#4 0/0#5; letters: 0/0#0 0/0#2 0/0#6 0/0#7");
}

#[test]
fn what_died_in_a_transaction_that_is_done_again_died_once() {
    let mut settings = three_of(10);
    settings.strict = true;
    let scene = Scene::comes_to_a("0/0: reject fault pass pass", settings);
    scene.strike("a", Moment::Offsets, Strike::Fail);
    scene.ends_with("main: 0/0#2 0/0#3; letters: 0/0#0 0/0#1");
}

#[test]
fn the_workers_of_a_stage_count_together_what_died() {
    let mut scene = Scene::with("", three_of(1000));
    let seats = [scene.worker("a"), scene.worker("b")];
    scene.until("they have begun", |scene| scene.is_known(4));
    for (number, place) in ["0/0", "0/1", "1/0"].iter().enumerate() {
        scene.come(&format!("{place}: reject"));
        if number < 2 {
            scene.until("it died", |scene| scene.outputs().matches('#').count() > number);
        }
    }
    scene.until("one of them stops", |_| seats.iter().any(|seat| seat.ended.borrow().is_some()));
    scene.passes(Duration::from_secs(1));
    assert_eq!(scene.outputs(), "letters: 0/0#0 0/1#0");
}

#[test]
fn of_what_is_skipped_only_rejects_may_be_meant() {
    let mut settings = three_of(1000);
    settings.on_error.reject = Policy::Skip;
    settings.on_error.fault = Policy::Skip;
    let scene = Scene::with("0/0: reject reject reject reject fault fault pass fault", settings);
    let a = scene.worker("a");
    assert!(failed(&scene.end_of(&a)).starts_with("stopped in front of 0/0@7: 3 of the last 8 records"));
}

#[test]
fn control_records_at_the_end_are_committed_as_progress() {
    let scene = Scene::with("0/0: (pass pass); 0/1: !(pass); 1/0: pass !(pass pass)", settings());
    scene.worker("a");
    scene.ends_with("main: 0/0#0 0/0#1 1/0#0");
}

#[test]
fn a_grown_topic_is_read_from_its_start() {
    let mut settings = settings();
    settings.from = Start::Latest;
    let mut scene = Scene::comes_to_a("", settings);
    scene.grow(0);
    scene.come("0/2: pass pass; 0/0: pass");
    scene.ends_with("main: 0/0#0 0/2#0 0/2#1");
}

#[test]
fn a_start_that_was_chosen_holds_for_whoever_comes_next() {
    let mut settings = settings();
    settings.from = Start::Latest;
    let mut scene = Scene::comes_to_a("", settings);
    scene.strike("a", Moment::Take, Strike::Kill);
    scene.until("a is killed", |scene| scene.happened(Event::Killed));
    scene.come("0/0: pass; 1/1: pass");
    scene.ends_with("main: 0/0#0 1/1#0");
}

#[test]
fn a_worker_whose_name_is_taken_ends_and_says_so() {
    let scene = Scene::with("0/0: pass", settings());
    let a = scene.worker("a");
    scene.ends_with("main: 0/0#0");
    scene.double(&a);
    assert!(failed(&scene.end_of(&a)).contains("was its state folder copied?"));
}

#[test]
fn a_worker_that_is_told_to_end_has_committed_what_it_did() {
    let scene = Scene::with("0/0: pass pass", settings());
    let a = scene.worker("a");
    scene.ends_with("main: 0/0#0 0/0#1");
    a.control.borrow().stop();
    assert_eq!(scene.end_of(&a), Ended::Orderly);
}

#[test]
fn a_cluster_that_does_not_answer_is_waited_for() {
    let scene = Scene::with("0/0: pass pass", settings());
    scene.worker("a");
    scene.loses_brokers(Duration::from_secs(600));
    scene.ends_with("main: 0/0#0 0/0#1");
}

#[test]
fn faults_of_an_idle_worker_that_lie_far_apart_do_not_add_up() {
    let scene = Scene::comes_to_a("", settings());
    for fault in 1..=5 {
        let quiet = scene.now() + Duration::from_secs(90);
        scene.until("it was quiet", |scene| scene.now() > quiet);
        scene.strike("a", Moment::Take, Strike::Fail);
        scene.until("it fails", |scene| scene.count(Event::TakeFailed) == fault);
        assert!(scene.now() - quiet < Duration::from_secs(1), "it went on at once after fault {fault}");
    }
}

#[test]
fn at_least_once_a_lost_answer_repeats_records_and_loses_none() {
    let mut settings = settings();
    settings.delivery = Delivery::AtLeastOnce;
    let scene = Scene::comes_to_a("0/0: pass pass", settings);
    scene.strike("a", Moment::End, Strike::Fail);
    scene.ends_with("main: 0/0#0 0/0#1 0/0#0 0/0#1");
}
