//! Into PostgreSQL: exactly once, whatever is killed; what does not fit is a dead letter, and the rest is in.

use crate::{
    lines, papers,
    process::{Host, soak},
    support::Pipeline,
};
use std::{
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use xtask::postgres::Postgres;

/// A server, and a pipeline whose sinks write there.
struct Scene {
    server: Postgres,
    pipeline: Pipeline,
    _folder: TempDir,
}

impl Scene {
    /// `{url}` stands for how the server is reached. The topic `in` is there, as the manifest says.
    fn new(tables: &str, manifest: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let server = Postgres::start(folder.path()).unwrap();
        if !tables.is_empty() {
            server.sql(tables).unwrap();
        }
        let pipeline = Pipeline::new(&manifest.replace("{url}", &server.url()));
        let partitions = manifest.split("in: {partitions: ").nth(1).unwrap().split('}').next().unwrap();
        pipeline.says(&format!("topics create in --partitions {partitions}"));
        Scene { server, pipeline, _folder: folder }
    }

    fn sql(&self, statement: &str) -> Vec<String> {
        self.server.sql(statement).unwrap()
    }

    /// One line of what a query finds.
    fn one(&self, query: &str) -> String {
        self.sql(query).join(" ")
    }
}

/// No index keeps a row from coming twice.
const ROWS: &str = "
topics:
  in: {partitions: 4}
sinks:
  rows: {input: in, workers: 2, commit-interval: 5ms, postgres: {url: '{url}', table: rows}}
";

/// Records come in pieces while the host and the server are killed; then a host drains the rest. What is wrong in the end.
fn harm(records: u64, kills: u64, server_kills: u64, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", ROWS);
    let count = || scene.one("SELECT count(*) FROM rows").parse::<u64>().unwrap();
    let pieces = kills + server_kills;
    let piece = records.div_ceil(pieces);
    let mut host = start(&scene.pipeline);
    for number in 0..pieces {
        let before = count();
        scene.pipeline.produce("in", &lines(number * piece..((number + 1) * piece).min(records)));
        let since = Instant::now();
        while count() <= before && before < records {
            assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
            assert!(since.elapsed() < Duration::from_secs(60), "nothing comes:\n{}", host.said());
        }
        thread::sleep(Duration::from_millis(number * 7919 % 40));
        if number % (kills / server_kills.max(1) + 1) == 1 && number / 2 < pieces {
            scene.server.kill().unwrap();
            scene.server.boot().unwrap();
        } else {
            host.kill();
            host = start(&scene.pipeline);
        }
    }
    host.kill();
    scene.pipeline.drain();
    let mut problems = Vec::new();
    let found = scene.one("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM rows");
    let due = format!("{records}|{records}|0|{}", records - 1);
    if found != due {
        problems.push(format!("{due} was due, {found} came"));
    }
    problems
}

#[test]
fn every_record_is_one_row_while_host_and_server_are_killed() {
    let (records, kills, server_kills) = if soak() { (100_000, 20, 3) } else { (10_000, 4, 1) };
    assert_eq!(harm(records, kills, server_kills, |pipeline| pipeline.run("")), Vec::<String>::new());
}

/// The check above finds a host that takes its step in a transaction of its own, and one that goes by the group's offsets.
#[test]
fn rows_of_a_broken_host_are_found_wrong() {
    for mutant in ["StepsOutside", "TrustsTheGroup"] {
        let broken = |pipeline: &Pipeline| pipeline.run_broken("MILLSTREAM_LEDGER_MUTANT", mutant);
        let is_found = |_| !harm(4_000, 8, 0, broken).is_empty();
        assert!((0..5).any(is_found), "{mutant} was not found out");
    }
}

const ORDERS: &str = "
topics: {in: {partitions: 1}}
sinks:
  orders:
    input: in
    postgres: {url: '{url}', table: orders, mode: upsert, key: [id], columns: {id: value.id, total: value.total,
               tags: value.tags, placed: value.placed, more: value.more, place: offset, of: topic, at: timestamp, k: key}}
";

#[test]
fn the_last_record_of_a_key_counts_and_a_tombstone_removes_its_row() {
    let table = "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(12,2), tags text[], placed timestamptz, \
                 more jsonb, place bigint, of text, at timestamptz, k text, kept int DEFAULT 7)";
    let scene = Scene::new(table, ORDERS);
    let records = [
        r#"{"key":"1","value":"{\"id\":1,\"total\":10.25,\"tags\":[\"a\",\"b\"],\"placed\":\"2026-01-01T00:00:00Z\",\"more\":{\"x\":[1,null]}}","timestamp":1700000000000}"#,
        r#"{"key":"2","value":"{\"id\":2,\"total\":1}"}"#,
        r#"{"key":"1","value":"{\"id\":1,\"total\":9999999999.99,\"tags\":null}"}"#,
        r#"{"key":"2","value":null}"#,
        r#"{"key":"3","value":null}"#,
        r#"{"key":"3","value":"{\"id\":\"3\",\"total\":\"3.5\"}"}"#,
        r#"{"key":"{\"id\":2}","value":"{\"id\":2,\"total\":2}"}"#,
        r#"{"key":"{\"id\":2}","value":null}"#,
    ];
    let said = scene.pipeline.given(records.join("\n"), "produce in --format json");
    assert_eq!(said.code, 0, "{said:?}");
    scene.pipeline.drain();
    assert_eq!(
        scene
            .sql("SELECT id, total, tags, placed AT TIME ZONE 'UTC', more, place, of, k, kept FROM orders ORDER BY id"),
        [r#"1|9999999999.99||2026-01-01 00:00:00|{"x": [1, null]}|2|in|1|7"#, "3|3.50||||5|in|3|7",]
    );
    assert_eq!(scene.one("SELECT next_offset FROM millstream_progress"), "8");
}

const PICKY: &str = "
topics: {in: {partitions: 2}}
sinks:
  picky:
    input: in
    on-error: ON_ERROR
    postgres: {url: '{url}', table: picky, key: [id], create: {id: bigint, name: 'varchar(5)', amount: 'int CHECK (amount > 0)'}}
";

#[test]
fn what_does_not_fit_is_a_dead_letter_and_the_rest_of_its_batch_is_in() {
    let scene = Scene::new("", &PICKY.replace("ON_ERROR", "{stop-when: never}"));
    let mut values: Vec<_> = (0..500).map(|n| format!(r#"{{"id":{n},"name":"n","amount":1}}"#)).collect();
    let wrong = [
        (7, r#"not json"#, "not-json"),
        (50, r#"[1]"#, "not-an-object"),
        (51, r#"{"id":51,"nome":"n"}"#, "no-column"),
        (99, r#"{"id":99,"name":"too long"}"#, "22001"),
        (100, r#"{"id":100,"amount":-1}"#, "23514"),
        (101, r#"{"id":0}"#, "23505"),
        (250, r#"{"id":99999999999999999999}"#, "22003"),
        (251, r#"{"name":"n"}"#, "no-key"),
        (499, r#"{"id":499,"amount":"many"}"#, "22P02"),
    ];
    wrong.iter().for_each(|(place, value, _)| values[*place] = (*value).to_owned());
    let said = scene.pipeline.given(values.join("\n"), "produce in");
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.pipeline.drain();
    assert!(said.contains("491 records written, 9 dead letters in test.picky.dead-letter"), "{said}");
    assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM picky"), "491|491");
    let letters = scene.pipeline.records("test.picky.dead-letter");
    let mut found: Vec<_> = letters
        .iter()
        .map(|letter| {
            let headers = letter["headers"].as_array().unwrap();
            let code = headers.iter().find(|header| header[0] == "millstream.error.code").unwrap();
            (letter["value"].as_str().unwrap().to_owned(), code[1].as_str().unwrap().to_owned())
        })
        .collect();
    let mut due: Vec<_> = wrong.iter().map(|(_, value, code)| ((*value).to_owned(), (*code).to_owned())).collect();
    found.sort();
    due.sort();
    assert_eq!(found, due);
    let listed = scene.pipeline.says("dead-letters list picky");
    assert!(listed.contains("test.picky: 9 dead letters"), "{listed}");
}

/// What a trigger or a policy of the table says of a row is the row's failure, and none of the user's rights.
#[test]
fn rules_of_the_table_itself_are_a_records_failure() {
    let table = "
        CREATE ROLE clerk LOGIN PASSWORD 'clerk';
        CREATE TABLE picky (id bigint PRIMARY KEY, name text, amount int);
        CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.name = 'state' THEN RAISE 'not today' USING ERRCODE = '45000'; END IF;
          IF NEW.name = 'assert' THEN ASSERT false; END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER rule BEFORE INSERT ON picky FOR EACH ROW EXECUTE FUNCTION rule();
        ALTER TABLE picky ENABLE ROW LEVEL SECURITY;
        CREATE POLICY seen ON picky FOR SELECT USING (true);
        CREATE POLICY positive ON picky FOR INSERT WITH CHECK (amount > 0);
        GRANT ALL ON picky TO clerk;
        GRANT ALL ON SCHEMA public TO clerk;";
    let scene = Scene::new(table, &PICKY.replace("ON_ERROR", "{stop-when: never}"));
    let url = scene.server.url();
    let (user, rest) = url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')).unwrap();
    let manifest = PICKY.replace("ON_ERROR", "{stop-when: never}");
    scene.pipeline.write(&manifest.replace("{url}", &format!("postgres://clerk:clerk@{rest}")));
    assert_ne!(user, "clerk");
    let names = ["fine", "state", "assert", "hidden", "fine"];
    let row = |(n, name): (usize, &&str)| {
        let amount = if *name == "hidden" { -1 } else { 1 };
        format!("a:{{\"id\":{n},\"name\":\"{name}\",\"amount\":{amount}}}")
    };
    scene.pipeline.produce("in", &names.iter().enumerate().map(row).collect::<Vec<_>>());
    let said = scene.pipeline.drain();
    assert!(said.contains("2 records written, 3 dead letters"), "{said}");
    assert_eq!(codes(&scene.pipeline), ["45000", "P0004", "42501"]);
}

/// The codes of the dead letters, in their order.
fn codes(pipeline: &Pipeline) -> Vec<String> {
    let letters = pipeline.records("test.picky.dead-letter");
    let code = |letter: &serde_json::Value| {
        let headers = letter["headers"].as_array().unwrap();
        let code = headers.iter().find(|header| header[0] == "millstream.error.code").unwrap();
        code[1].as_str().unwrap().to_owned()
    };
    letters.iter().map(code).collect()
}

#[test]
fn a_column_that_takes_more_than_it_did_is_seen_while_it_runs() {
    let scene = Scene::new(
        "CREATE TABLE picky (id bigint PRIMARY KEY, name text, amount int)",
        &PICKY.replace("ON_ERROR", "{stop-when: never}"),
    );
    let mut host = scene.pipeline.run("");
    let rows = |amount: &str| {
        scene.pipeline.produce("in", &[format!("a:{{\"id\":{},\"amount\":{amount}}}", amount.len())]);
    };
    let count = |due: &str| {
        host.until(due, Duration::from_secs(60), || scene.one("SELECT count(*) FROM picky") == due);
    };
    rows("1");
    count("1");
    scene.sql("ALTER TABLE picky ALTER amount TYPE text");
    rows("\"a lot\"");
    count("2");
    assert_eq!(scene.one("SELECT amount FROM picky ORDER BY id DESC LIMIT 1"), "a lot");
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(30)).success(), "{}", host.said());
}

#[test]
fn a_sink_that_is_to_stop_stops_in_front_of_the_record() {
    let scene = Scene::new("", &PICKY.replace("ON_ERROR", "stop"));
    let values = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3,\"amount\":0}", "{\"id\":4}"];
    let lines: Vec<_> = values.iter().map(|value| format!("a:{value}")).collect();
    scene.pipeline.produce("in", &lines);
    let mut host = scene.pipeline.run("");
    assert_eq!(host.wait(Duration::from_secs(30)).code(), Some(1), "{}", host.said());
    assert!(host.said().contains("23514"), "{}", host.said());
    assert_eq!(scene.one("SELECT count(*), max(id) FROM picky"), "2|2");
    // What is mended goes on there.
    scene.sql("ALTER TABLE picky DROP CONSTRAINT picky_amount_check");
    scene.pipeline.drain();
    assert_eq!(scene.one("SELECT count(*), max(id) FROM picky"), "4|4");
}

/// The lines of what a host said that are about the sink's database.
fn about(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("PostgreSQL at") || line.contains("goes on")).collect()
}

#[test]
fn a_server_that_is_away_is_waited_for_and_said_once() {
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", ROWS);
    scene.server.kill().unwrap();
    let mut host = scene.pipeline.run("--only rows");
    host.wait_until_said("does not answer");
    scene.pipeline.produce("in", &lines(0..10));
    thread::sleep(Duration::from_secs(3));
    scene.server.boot().unwrap();
    host.until("it goes on", Duration::from_secs(30), || scene.one("SELECT count(*) FROM rows") == "10");
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
    let said = host.said();
    // Of each of the two workers.
    assert!((2..=4).contains(&about(&said).len()), "{said}");
}

#[test]
fn a_wrong_password_is_one_clear_line_without_it() {
    let scene = Scene::new("", ROWS);
    let manifest = ROWS.replace("workers: 2, ", "");
    scene.pipeline.write(&manifest.replace("{url}", &scene.server.url_with("wrong-and-secret", scene.server.port())));
    let mut host = scene.pipeline.run("");
    host.wait_until_said("password authentication failed");
    thread::sleep(Duration::from_secs(5));
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
    let said = host.said();
    assert_eq!(about(&said).len(), 1, "{said}");
    assert!(!said.contains("wrong-and-secret") && !said.contains(scene.server.password()), "{said}");
    let checked = scene.pipeline.given("", "check pipeline.yaml");
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(!format!("{checked:?}").contains("wrong-and-secret"), "{checked:?}");
}

#[test]
fn a_server_is_believed_by_its_certificate_and_lets_one_in_by_ones_own() {
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", ROWS);
    let folder = papers();
    let file = |name: &str| folder.path().join(name);
    scene.server.require_tls(&file("server.pem"), &file("ours.pem")).unwrap();
    let password = scene.server.url();
    let here = format!("localhost:{}", scene.server.port());
    let by_name = password.replace("127.0.0.1", "localhost");
    let bearer = format!("postgres://bearer@{here}/postgres");
    let full = format!("?sslmode=verify-full&sslrootcert={}", file("ours.pem").display());
    let own = |name: &str| format!("&sslcert={0}&sslkey={0}", file(name).display());
    let manifest = ROWS.replace("workers: 2, ", "");
    let mut next = 0;
    for url in [
        format!("{by_name}{full}"),
        format!("{password}{}", full.replace("full", "ca")),
        password.clone(),
        format!("{bearer}{full}{}", own("bearer.pem")),
    ] {
        scene.pipeline.write(&manifest.replace("{url}", &url));
        scene.pipeline.produce("in", &lines(next..next + 10));
        next += 10;
        scene.pipeline.drain();
        assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM rows"), format!("{next}|{next}"), "{url}");
    }
    let trust = "name the file of who vouches for it by `sslrootcert`, or correct the host";
    for (url, expected) in [
        (
            format!("{by_name}?sslmode=verify-full&sslrootcert={}", file("other.pem").display()),
            format!("has a certificate that cannot be trusted: self-signed certificate in certificate chain: {trust}"),
        ),
        (
            format!("{password}{full}"),
            format!("has a certificate that cannot be trusted: IP address mismatch: {trust}"),
        ),
        (format!("{by_name}?sslmode=disable"), "no encryption".to_owned()),
        (format!("{bearer}{full}"), "connection requires a valid client certificate".to_owned()),
        (
            format!("{bearer}{full}{}", own("stranger.pem")),
            "does not accept how this client speaks TLS: tlsv1 alert unknown ca: correct".to_owned(),
        ),
    ] {
        scene.pipeline.write(&manifest.replace("{url}", &url));
        let mut host = scene.pipeline.run("");
        host.wait_until_said("PostgreSQL at");
        thread::sleep(Duration::from_secs(2));
        host.signal("TERM");
        assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
        let said = host.said();
        let about: Vec<_> = said.lines().filter(|line| line.contains("PostgreSQL at")).collect();
        assert!(matches!(about[..], [line] if line.contains(&expected)), "{url}: {expected}: {said}");
        assert!(!said.contains(scene.server.password()), "{said}");
    }
}

#[test]
fn a_host_ends_in_time_with_its_server_stuck() {
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", ROWS);
    let mut host = scene.pipeline.run("");
    scene.pipeline.produce("in", &lines(0..10));
    host.until("it works", Duration::from_secs(30), || scene.one("SELECT count(*) FROM rows") == "10");
    scene.server.signal_all("STOP").unwrap();
    scene.pipeline.produce("in", &lines(10..20));
    thread::sleep(Duration::from_millis(500));
    let since = Instant::now();
    host.signal("TERM");
    host.wait(Duration::from_secs(10));
    println!("ended after {:?}", since.elapsed());
    scene.server.signal_all("CONT").unwrap();
    scene.pipeline.drain();
    assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM rows"), "20|20");
}

/// One that is deleted and made anew is another one, and so is that of another log: their first records are not those that the
/// table has already.
#[test]
fn a_topic_that_is_made_anew_is_written_from_its_beginning() {
    let manifest = ROWS.replace("workers: 2", "workers: 2, on-lost-offset: earliest");
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", &manifest);
    let write = |numbers: std::ops::Range<u64>| {
        scene.pipeline.says("topics create in --partitions 4");
        scene.pipeline.produce("in", &lines(numbers));
        scene.pipeline.drain()
    };
    scene.pipeline.produce("in", &lines(0..10));
    scene.pipeline.drain();
    scene.pipeline.says("topics delete in");
    let said = write(10..30);
    assert!(said.contains("is not the one of which the database has"), "{said}");
    assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM rows"), "30|30");
    std::fs::remove_dir_all(scene.pipeline.path(".millstream")).unwrap();
    let said = write(30..35);
    assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM rows"), "35|35", "{said}");
}

#[test]
fn what_the_database_says_stands_over_the_group() {
    let scene = Scene::new("CREATE TABLE rows (id bigint, name text)", ROWS);
    scene.pipeline.produce("in", &lines(0..10));
    scene.pipeline.drain();
    scene.sql("UPDATE millstream_progress SET next_offset = 0 WHERE partition = 0");
    let said = scene.pipeline.drain();
    assert!(said.contains("goes on at 0, as the database has it"), "{said}");
    let again = scene.pipeline.records("in").iter().filter(|record| record["partition"] == 0).count();
    assert!(again > 0);
    assert_eq!(scene.one("SELECT count(*), count(DISTINCT id) FROM rows"), format!("{}|10", 10 + again));
}
