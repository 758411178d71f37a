//! Rules that change while payments come in.

use crate::{command::Running, folder::Example};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// As the README has them, but for how many.
fn payment(n: usize) -> String {
    format!("card {}:{{\"n\": {n}, \"amount\": {}, \"hour\": {}}}\n", n % 7, n * 37 % 1500, n % 24)
}

#[test]
fn no_payment_is_lost_or_judged_twice_when_the_rules_change() {
    let example = Example::new("fraud");
    example.passes_its_cases();
    let host = example.run("--admin 127.0.0.1:0");
    let admin = host.admin();
    host.wait_until_said("judge: payments → ");
    let mut producer = Running::start(&mut example.command("produce payments --key-separator :"), "produce");
    let mut sent = 0;
    let mut send = |count: usize| {
        (sent..sent + count).for_each(|n| producer.write(payment(n)));
        sent += count;
    };
    send(2000);
    let judged = || ["payments.clear", "payments.suspicious"].map(|topic| example.records(topic));
    host.until("some are judged", Duration::from_secs(60), || judged().iter().all(|records| !records.is_empty()));
    let module = "target/wasm32-unknown-unknown/release/rules_2.wasm";
    let words = format!("swap judge {module} --admin {admin}");
    let mut swap = Running::start(&mut example.command(&words), &words);
    // It has records to prove itself with.
    while swap.process.try_wait().unwrap().is_none() {
        send(50);
        std::thread::sleep(Duration::from_millis(100));
    }
    send(500);
    let swapped = swap.end();
    assert!(swapped.code == 0 && swapped.out.contains("is confirmed after"), "{swapped:?}");
    let produced = producer.end();
    assert_eq!(produced.code, 0, "{produced:?}");
    let all = || judged().iter().map(Vec::len).sum::<usize>();
    host.until("all are judged", Duration::from_secs(60), || all() >= sent);
    let [clear, suspicious] = judged();
    let number = |record: &Value| -> usize {
        let payment: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
        payment["n"].as_u64().unwrap() as usize
    };
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    clear.iter().chain(&suspicious).for_each(|record| *seen.entry(number(record)).or_default() += 1);
    assert_eq!(seen.len(), sent, "some are lost");
    assert!(seen.values().all(|count| *count == 1), "some are doubled");
    let in_the_night =
        suspicious.iter().filter(|record| record["headers"][0][1] == "in the night").map(number).collect::<Vec<_>>();
    assert!(!in_the_night.is_empty());
    // Once they are at work in a partition, they stay: nothing behind their first finding slips through there.
    for card in 0..7 {
        let of_card = |n: &usize| n % 7 == card;
        let first = in_the_night.iter().copied().filter(of_card).min().unwrap_or(sent);
        let slipped = clear.iter().map(number).filter(of_card).find(|n| {
            let (amount, hour) = (n * 37 % 1500, n % 24);
            *n > first && amount > 200 && hour < 5
        });
        assert_eq!(slipped, None, "card {card}, behind {first}");
    }
    // And what they would have said of the rest is told by the command of the README.
    let replay =
        format!("replay judge --module {module} --against target/wasm32-unknown-unknown/release/rules.wasm -n 1");
    let replayed = example.given("", &replay);
    assert!(replayed.code == 1 && replayed.out.contains("in the night"), "{replayed:?}");
}
