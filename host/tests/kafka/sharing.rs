//! A second process of a manifest: it shares the work, nobody notices when it comes back, and its part is taken over when
//! it does not.

use crate::{
    delivery::{COPY, Sending, problems},
    support::{Kafka, Pipeline, Watch},
    swapping::{counted, settled, until_at_work},
};
use std::{thread, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than the session lasts, with the time to join and to load a group.
const SESSION: Duration = Duration::from_secs(35);

#[test]
fn a_second_process_shares_the_work_comes_back_unnoticed_and_is_replaced_when_it_does_not() {
    let kafka = Kafka::shared();
    // A slow machine, too, is back in that time.
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    properties: {{session.timeout.ms: 20000}}\n"));
    ["in", "out"].iter().for_each(|stem| kafka.make(&pipeline.topic(stem), 4, &[]));
    let watch = Watch::start(&kafka, &pipeline.topic("out"));
    let sending = Sending::start(&kafka, &pipeline.topic("in"), 270);
    let run = || {
        let host = pipeline.run(&["--admin", "127.0.0.1:0"]);
        until_at_work(pipeline.folder.path(), &host);
        host
    };
    let (group, first, mut second) = (format!("{}.copy", pipeline.name), run(), run());
    let worked = "millstream_records_transformed_total";
    first.until("both share the partitions", MINUTE, || {
        kafka.is_shared_by(&group, 4) && [&first, &second].iter().all(|host| counted(host, worked) > 0.0)
    });
    let before = settled(pipeline.folder.path(), &first, 2);

    // It ends in order, or is killed, and starts again: the same partitions are its own.
    for is_killed in [false, true] {
        match is_killed {
            true => second.kill(),
            false => {
                second.signal("TERM");
                assert!(second.wait(MINUTE).success(), "{}", second.said());
            }
        }
        second = run();
        second.until("it works again", MINUTE, || counted(&second, worked) > 0.0);
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(counted(&first, "millstream_rebalances_total"), before, "{}", first.said());

    // And once it is gone for good, in whatever way, the first has them all.
    second.kill();
    first.until("its part is taken over", SESSION, || kafka.is_shared_by(&group, 2));
    let records = sending.end();
    first.until("all are through", MINUTE, || watch.count() >= records as usize);
    assert_eq!(problems(&kafka, &pipeline.topic("in"), &watch, records), Vec::<String>::new(), "{}", first.said());
}
