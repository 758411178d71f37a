//! Modules are replaced on a real Kafka while records flow: nothing is lost, doubled or out of order, no partition
//! changes hands, and of a module that fails at once nobody sees anything.

use crate::{
    delivery::{COPY, Sending, problems, send_slowly},
    support::{Host, Kafka, Pipeline, Watch, process::with_manners, soak},
    swapping::{MODULES, ask, ask_json, counted, judge, settled, status, swap, until_at_work, write_modules},
};
use std::{fs, thread, time::Duration};

fn pipeline(kafka: &Kafka) -> (Pipeline, Watch) {
    let pipeline = Pipeline::new(kafka, &format!("{COPY}    probation: {{records: 200, time: 60s}}\n"));
    kafka.make(&pipeline.topic("in"), 4, &[]);
    kafka.make(&pipeline.topic("out"), 4, &[]);
    write_modules(pipeline.folder.path());
    let watch = Watch::start(kafka, &pipeline.topic("out"));
    (pipeline, watch)
}

fn run(pipeline: &Pipeline) -> Host {
    let host = pipeline.run(&["--admin", "127.0.0.1:0"]);
    until_at_work(pipeline.folder.path(), &host);
    host
}

#[test]
fn modules_are_swapped_under_load_and_no_partition_changes_hands() {
    let (every_second, swaps) = if soak() { (2_700, 50) } else { (950, 14) };
    let kafka = Kafka::shared();
    let (pipeline, watch) = pipeline(&kafka);
    let mut host = run(&pipeline);
    let sending = Sending::start(&kafka, &pipeline.topic("in"), every_second);
    host.until("the first records are through", Duration::from_secs(60), || watch.count() > 100);
    let group = format!("{}.copy", pipeline.name);
    host.until("its workers share the partitions", Duration::from_secs(60), || kafka.is_shared_by(&group, 2));
    let rebalances = settled(pipeline.folder.path(), &host, 4);
    for module in MODULES.into_iter().cycle().take(swaps) {
        judge(module, &swap(pipeline.folder.path(), &host, module.0), &host);
    }
    assert_eq!(counted(&host, "millstream_rebalances_total"), rebalances, "{}", host.said());
    let records = sending.end();
    assert_eq!(problems(&kafka, &pipeline.topic("in"), &watch, records), Vec::<String>::new(), "{}", host.said());
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
}

#[test]
fn hosts_that_are_killed_while_modules_are_swapped_lose_nothing() {
    let (records, kills) = if soak() { (100_000, 30) } else { (10_000, 6) };
    let kafka = Kafka::shared();
    let (pipeline, watch) = pipeline(&kafka);
    let mut hosts = [run(&pipeline), run(&pipeline)];
    let sending = send_slowly(&kafka, &pipeline.topic("in"), records, Duration::from_secs(3) * kills);
    for kill in 0..kills as usize {
        let (manners, folder) = (MODULES[kill % 4].0, pipeline.folder.path());
        let host = &mut hosts[kill % 2];
        let command = format!("swap copy {manners}.wasm --no-wait --this-host --admin {}", host.admin());
        thread::scope(|scope| {
            scope.spawn(|| ask(folder, &command));
            thread::sleep(Duration::from_millis((kill * 97 % 500) as u64));
            host.kill();
        });
        *host = run(&pipeline);
    }
    sending.join().unwrap();
    hosts.into_iter().for_each(|mut host| host.kill());
    pipeline.drain();
    assert_eq!(problems(&kafka, &pipeline.topic("in"), &watch, records), Vec::<String>::new());
}

#[test]
fn two_hosts_swap_together_or_not_at_all() {
    let kafka = Kafka::shared();
    let (pipeline, watch) = pipeline(&kafka);
    let folder = pipeline.folder.path();
    let mut hosts = [run(&pipeline), run(&pipeline)];
    let sending = Sending::start(&kafka, &pipeline.topic("in"), 950);
    let admins =
        |hosts: &[Host]| hosts.iter().map(|host| format!("--admin {}", host.admin())).collect::<Vec<_>>().join(" ");
    let modules = |hosts: &[Host]| {
        let module = |host: &Host| status(folder, host)["stages"][0]["module"]["name"].as_str().unwrap().to_owned();
        hosts.iter().map(module).collect::<Vec<_>>()
    };
    let (code, _, err) = ask(folder, &format!("swap copy marks-one.wasm {}", admins(&hosts[..1])));
    assert!(code == 2 && err.contains("copy has 2 workers on hosts that were not named"), "{err}");
    assert_eq!(modules(&hosts), ["trial.wasm"; 2]);
    let told = ask_json(folder, &format!("swap copy marks-one.wasm {}", admins(&hosts)));
    assert_eq!([&told[0]["swap"]["outcome"], &told[1]["swap"]["outcome"]], ["confirmed"; 2], "{told}");
    assert_eq!(modules(&hosts), ["marks-one.wasm"; 2]);
    // A module that fails on one of them stays on none.
    let (code, out, err) = ask(folder, &format!("swap copy panics.wasm {}", admins(&hosts)));
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(modules(&hosts), ["marks-one.wasm"; 2], "{out}{err}");
    // One that one of them refuses is tried by none.
    hosts[1].kill();
    let digest = told[0]["swap"]["to"]["digest"].as_str().unwrap();
    let manifest = fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
    let module = manifest.lines().find(|line| line.contains("module:")).unwrap();
    let pinned = manifest.replace(module, &format!("    module: marks-one.wasm\n    sha256: {digest}"));
    fs::write(folder.join("pipeline.yaml"), pinned).unwrap();
    hosts[1] = run(&pipeline);
    let (code, out, err) = ask(folder, &format!("swap copy panics-at-100.wasm {}", admins(&hosts)));
    assert!(code == 1 && err.contains("the manifest pins"), "{out}{err}");
    assert_eq!(modules(&hosts), ["marks-one.wasm"; 2]);
    let records = sending.end();
    assert_eq!(problems(&kafka, &pipeline.topic("in"), &watch, records), Vec::<String>::new());
}

#[test]
fn two_hosts_swap_to_a_module_that_makes_the_same_on_both_and_to_no_other() {
    let kafka = Kafka::shared();
    let (pipeline, watch) = pipeline(&kafka);
    let folder = pipeline.folder.path();
    fs::write(folder.join("same.wasm"), with_manners("same")).unwrap();
    let hosts = [run(&pipeline), run(&pipeline)];
    let sending = Sending::start(&kafka, &pipeline.topic("in"), 950);
    let group = format!("{}.copy", pipeline.name);
    hosts[0].until("all have their partitions", Duration::from_secs(60), || kafka.is_shared_by(&group, 4));
    let admins = format!("--admin {} --admin {}", hosts[0].admin(), hosts[1].admin());
    let modules = || {
        let module = |host: &Host| status(folder, host)["stages"][0]["module"]["name"].as_str().unwrap().to_owned();
        hosts.iter().map(module).collect::<Vec<_>>()
    };
    let promote = |module: &str, admins: &str| {
        ask(folder, &format!("swap copy {module}.wasm --shadow 100 --promote-if-equal {admins}"))
    };
    let (code, _, err) = promote("same", &format!("--admin {}", hosts[0].admin()));
    assert!(code == 2 && err.contains("on hosts that were not named"), "{err}");
    let (code, out, err) = promote("marks-one", &admins);
    assert!(code == 1 && err.ends_with("copy: nothing was swapped\n"), "{out}{err}");
    assert_eq!(err.matches(": 100 records of copy: 0 alike, 100 differ, 10 shown").count(), 2, "{err}");
    assert_eq!(modules(), ["trial.wasm"; 2]);
    let (code, out, err) = promote("same", &admins);
    assert_eq!((code, err.matches(": 100 records of copy: 100 alike, 0 differ").count()), (0, 2), "{out}{err}");
    assert_eq!(modules(), ["same.wasm"; 2]);
    let records = sending.end();
    assert_eq!(problems(&kafka, &pipeline.topic("in"), &watch, records), Vec::<String>::new());
}
