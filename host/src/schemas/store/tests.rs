//! Ids on their way from a registry that answers as it is told to.

use super::{super::served::serve, *};
use std::{collections::BTreeMap, net::TcpListener};

/// A registry that gives each id the answers it was told to, one after the other, and the last one from then on: a
/// status, and a body.
struct Server {
    url: String,
    asked: Arc<Mutex<BTreeMap<u32, Vec<Instant>>>>,
}

type Answers = &'static [(u16, &'static str)];

const STRING: (u16, &str) = (200, r#"{"schema":"\"string\""}"#);
const NONE: (u16, &str) = (404, r#"{"error_code":40403}"#);

impl Server {
    fn start(answers: &'static [(u32, Answers)]) -> Server {
        let asked = Arc::<Mutex<BTreeMap<u32, Vec<Instant>>>>::default();
        let noted = asked.clone();
        let url = serve(move |question, _| {
            let id = question.strip_prefix("GET /schemas/ids/").unwrap().parse().unwrap();
            let mut noted = noted.lock().unwrap();
            let times = noted.entry(id).or_default();
            times.push(Instant::now());
            let of = answers.iter().find(|(of, _)| *of == id).unwrap().1;
            let (status, body) = of[of.len().min(times.len()) - 1];
            (status, body.to_owned())
        });
        Server { url, asked }
    }

    fn store(&self) -> Arc<Store> {
        Store::of_registry(None, &SchemaRegistry::at(&self.url)).unwrap()
    }

    fn asked(&self, id: u32) -> Vec<Instant> {
        self.asked.lock().unwrap().get(&id).cloned().unwrap_or_default()
    }
}

/// As a stage does, for at most so long.
fn find_within(store: &Arc<Store>, id: u32, seconds: u64) -> Found {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        match store.find(id, Duration::from_millis(50)) {
            Found::Waiting if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
            found => return found,
        }
    }
}

fn missing(found: Found) -> String {
    match found {
        Found::Missing(why) => why,
        found => panic!("{found:?}"),
    }
}

#[test]
fn an_id_that_is_never_answered_holds_up_no_other() {
    let server = Server::start(&[
        (1, &[(500, "{}")]),
        (2, &[STRING]),
        (3, &[(500, "{}"), (500, "{}"), STRING]),
        (4, &[(403, "{}")]),
    ]);
    let store = server.store();
    for never in [1, 4] {
        assert!(matches!(store.find(never, Duration::from_secs(5)), Found::Waiting));
        assert_eq!(store.lock().door, Door::Open);
    }
    for _ in 0..2 {
        assert!(matches!(find_within(&store, 2, 5), Found::Schema(_)));
    }
    assert!(matches!(find_within(&store, 3, 5), Found::Schema(_)));
    assert!(matches!(store.find(1, Duration::ZERO), Found::Waiting));
    assert_eq!(store.lock().door, Door::Open);
    assert_eq!(server.asked(2).len(), 1);
    // It comes back to the first one, less and less often.
    thread::sleep(Duration::from_millis(1000));
    let asked = server.asked(1);
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 2 && pauses[0] >= FIRST_DELAY && pauses[1] >= 2 * FIRST_DELAY, "{pauses:?}");
}

#[test]
fn a_registry_that_is_away_is_waited_for_by_nobody_in_particular() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = Store::of_registry(None, &SchemaRegistry::at(&format!("http://{closed}"))).unwrap();
    let begun = Instant::now();
    assert!(matches!(store.find(1, Duration::from_secs(60)), Found::Waiting));
    assert!(begun.elapsed() < Duration::from_secs(30) && store.lock().door == Door::Silent);
}

#[test]
fn a_schema_that_is_there_a_moment_later_is_found() {
    let server = Server::start(&[(1, &[NONE, STRING]), (2, &[NONE, NONE, NONE, STRING])]);
    let store = server.store();
    assert!(matches!(store.find(2, Duration::ZERO), Found::Waiting));
    assert!(matches!(find_within(&store, 1, 10), Found::Schema(_)));
    let why = missing(find_within(&store, 2, 10));
    assert_eq!(why, format!("the schema registry at {} has no schema 2", server.url));
    let asked = server.asked(2);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{asked:?}");
    // That is believed from then on.
    assert_eq!(missing(store.find(2, Duration::ZERO)), why);
    assert_eq!(server.asked(2).len(), 3);
}

#[test]
fn an_id_that_none_can_have_is_no_question() {
    let server = Server::start(&[]);
    let store = server.store();
    let why = missing(store.find(1 << 31, Duration::ZERO));
    assert_eq!(why, "no schema has the id 2147483648: the largest is 2147483647");
    assert!(store.lock().wanted.is_empty() && store.lock().missing.is_empty());
}

#[test]
fn what_is_missing_is_remembered_of_a_bounded_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::local(folder.path());
    for id in 0..3000 {
        missing(store.find(id, Duration::ZERO));
        assert!(store.lock().missing.len() <= MOST_MISSING);
    }
    assert!(store.lock().missing.contains_key(&2999));
}

#[test]
fn a_panic_is_what_is_wrong_with_its_schema() {
    let why = guarded(|| panic!("no branch {}", 7)).unwrap_err();
    assert_eq!(why, "it makes its reader panic: no branch 7");
}

#[test]
fn answers_that_are_of_no_use_are_one_line_without_secrets() {
    let of = |status| -> (u32, &'static str, Answers) { status };
    for (id, words, answers) in [
        of((1, "fails (500 Internal Server Error)", &[(500, "<html>")])),
        of((2, "does not answer: 503 Service Unavailable", &[(503, "{}")])),
        of((3, "lets nobody in unknown (403 Forbidden): ", &[(403, "{}")])),
        of((4, "says that it is elsewhere (301 Moved Permanently): write its own URL", &[(301, "")])),
        of((5, "says: no", &[(422, r#"{"error_code":422,"message":"\u001bno\n"}"#)])),
        of((6, "is no schema registry: it says 200 OK", &[(200, "<html>")])),
    ] {
        let listed: &'static [(u32, Answers)] = Vec::leak(vec![(id, answers)]);
        let server = Server::start(listed);
        let error = server.store().registry.as_ref().unwrap().by_id(id).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains(['\n', '\u{1b}']), "{error}");
    }
    for url in ["http://me:hunter2@localhost", "http://localhost?token=hunter2"] {
        let error = Store::of_registry(None, &SchemaRegistry::at(url)).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
