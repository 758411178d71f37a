//! Sources: hosts that give a sequence are killed and stopped, and every number is counted at the far end.

use crate::support::{Host, Kafka, Pipeline, Watch, read_all, soak, until};
use std::{thread, time::Duration};

/// Counts to so many, a number every 10 ms.
fn numbers(count: usize) -> String {
    format!(
        "
sources:
  numbers:
    module: '{{guests}}/numbers.wasm'
    output: '{{name}}-numbers'
    every: 10ms
    config: {{count: {count}}}
"
    )
}

/// More than any source comes to give: it is at work however slow or quick the machine is.
const ENDLESS: usize = 1_000_000_000;

/// What a host takes to be sure that another one is gone, and more than that.
const SESSION: Duration = Duration::from_millis(7500);

struct Scene {
    pipeline: Pipeline,
    output: String,
}

impl Scene {
    fn new(count: usize) -> Scene {
        let kafka = Kafka::shared();
        let pipeline = Pipeline::new(&kafka, &numbers(count));
        let output = pipeline.topic("numbers");
        // One partition: what stands there, stands in its order.
        kafka.make(&output, 1, &[]);
        Scene { pipeline, output }
    }

    fn watch(&self) -> Watch {
        Watch::start(&self.pipeline.kafka, &self.output)
    }

    fn until_more_come(&self, host: &Host, watch: &Watch) {
        let before = watch.count();
        host.until("more numbers come", Duration::from_secs(60), || watch.count() > before + 3);
    }

    fn there(&self) -> Vec<String> {
        read_all(&self.pipeline.kafka, &self.output).iter().map(|record| record.text()).collect()
    }

    /// Only now it is said where they end: the hosts are killed, and another one gives the last ones.
    fn concludes(&self, hosts: impl IntoIterator<Item = Host>, watch: &Watch) {
        hosts.into_iter().for_each(drop);
        // More than a commit has that is on its way.
        let count = self.there().len() + 200;
        self.pipeline.write(&numbers(count));
        self.pipeline.drain();
        self.is_complete(count, watch);
    }

    /// Every number stands in the output once, in its order.
    fn is_complete(&self, count: usize, watch: &Watch) {
        until("all numbers are seen", Duration::from_secs(60), || watch.count() >= count);
        // What should not come may come late.
        thread::sleep(Duration::from_millis(500));
        let due: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        let seen: Vec<_> = watch.seen().iter().map(|record| record.text()).collect();
        assert_eq!(seen, due);
        assert_eq!(self.there(), due);
    }
}

#[test]
fn a_sequence_is_given_once_and_then_the_run_is_done() {
    let scene = Scene::new(300);
    let watch = scene.watch();
    scene.pipeline.drain();
    scene.is_complete(300, &watch);
    // Whoever comes later finds that it is done.
    scene.pipeline.drain();
    scene.is_complete(300, &watch);
}

#[test]
fn a_host_that_is_killed_again_and_again_goes_on_where_it_stood() {
    let kills = if soak() { 100 } else { 8 };
    let scene = Scene::new(ENDLESS);
    let watch = scene.watch();
    let mut host = scene.pipeline.run(&[]);
    for kill in 0..kills {
        scene.until_more_come(&host, &watch);
        // Not at the same moment of the commit interval each time.
        thread::sleep(Duration::from_millis(kill * 7919 % 60));
        host.kill();
        host = scene.pipeline.run(&[]);
    }
    scene.concludes([host], &watch);
}

#[test]
fn the_one_that_stands_by_takes_over_from_one_that_is_killed() {
    let scene = Scene::new(ENDLESS);
    let watch = scene.watch();
    let mut hosts = [scene.pipeline.run(&[]), scene.pipeline.run(&[])];
    for _ in 0..2 {
        scene.until_more_come(&hosts[0], &watch);
        // Whoever it is that is at work: one of them is killed, and the other one goes on.
        hosts[0].kill();
        scene.until_more_come(&hosts[1], &watch);
        hosts[0] = scene.pipeline.run(&[]);
        hosts.swap(0, 1);
    }
    scene.concludes(hosts, &watch);
}

#[test]
fn one_that_stood_still_while_another_took_over_doubles_nothing() {
    let rounds = if soak() { 10 } else { 2 };
    let scene = Scene::new(ENDLESS);
    let watch = scene.watch();
    let first = scene.pipeline.run(&[]);
    scene.until_more_come(&first, &watch);
    let second = scene.pipeline.run(&[]);
    // When the two have agreed on who it is, whoever stands still may be the one at work, or the other one.
    for round in 0..rounds {
        let (still, awake) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        scene.until_more_come(awake, &watch);
        still.signal("STOP");
        // The transaction that it may have open is younger than its timeout when it wakes.
        thread::sleep(SESSION);
        scene.until_more_come(awake, &watch);
        still.signal("CONT");
        scene.until_more_come(awake, &watch);
    }
    scene.concludes([first, second], &watch);
}
