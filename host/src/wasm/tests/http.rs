//! HTTP of a real guest, with servers that do well and servers that do not.

use crate::{
    lines::{Entries, Entry, Given},
    stage::guest::{Guest, InHand},
    transport::Batch,
    wasm::{
        Allowed, Instance, Limits, Setup, Site,
        fixture::{One, compiled, lines, setup, show},
    },
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A server on a port of its own, with an answer for each path. It ends with the process.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                thread::spawn(|| answer(stream.unwrap()));
            }
        });
        Server { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Nobody need be there any more to hear an answer.
fn answer(mut stream: TcpStream) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    from.read_line(&mut first).ok()?;
    let mut line = String::new();
    while from.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let mut say = |text: &str| stream.write_all(text.as_bytes()).ok();
    match first.split(' ').nth(1)? {
        "/hello" => say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        "/moved" => say("HTTP/1.1 302 Found\r\nlocation: http://other.example/\r\ncontent-length: 0\r\n\r\n"),
        "/never" => from.read_to_end(&mut Vec::new()).ok().map(drop),
        "/trickle" => {
            say("HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                say("x")?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        "/flood" => {
            say("HTTP/1.1 200 OK\r\n\r\n")?;
            let part = "x".repeat(1 << 16);
            loop {
                say(&part)?;
            }
        }
        "/half" => {
            say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
            stream.shutdown(Shutdown::Both).ok()
        }
        "/headers" => say(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20))),
        "/garbage" => say("I am no server\r\n\r\n"),
        "/count" => {
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                let more = from.fill_buf().ok()?;
                body.extend_from_slice(more);
                let taken = more.len();
                from.consume(taken);
            }
            let count = body.iter().filter(|byte| **byte == b'x').count().to_string();
            say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{count}", count.len()))
        }
        // It has no patience with a body.
        "/deaf" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        path => unreachable!("{path}"),
    }
}

/// The guest, with these hosts and time enough.
fn fetch(hosts: &[&str]) -> Instance {
    fetch_within(Duration::from_secs(2), hosts)
}

fn fetch_within(time: Duration, hosts: &[&str]) -> Instance {
    let sites: Vec<_> = hosts.iter().map(|host| Site::read(host).unwrap()).collect();
    let limits = Limits { time, memory: 8 << 20, ..Limits::default() };
    let allowed = Allowed { http: sites.into(), ..Allowed::default() };
    Instance::new(&compiled("fetch"), Setup { limits, allowed, ..setup() }).unwrap()
}

fn says(stage: &mut Instance, value: &str) -> String {
    show(&One::of(value).hand_to(stage))
}

/// What comes of a request to this path of a server that is allowed.
fn gets(how: &str, path: &str) -> String {
    let server = Server::start();
    says(&mut fetch(&[&server.address]), &format!("{how} http://{}{path}", server.address))
}

/// The same, with a quick end.
fn gets_quickly(how: &str, path: &str) -> String {
    let server = Server::start();
    let mut stage = fetch_within(Duration::from_millis(30), &[&server.address]);
    says(&mut stage, &format!("{how} http://{}{path}", server.address))
}

const WALL: &str = "limit(wall-time-limit) took longer than its limit of 300ms, ten times its limit of CPU time";

const CUT_OFF: &str = "k=ErrorCode::InternalError(Some(\"incomplete HTTP response";

#[test]
fn a_host_that_is_allowed_answers() {
    assert_eq!(gets("get", "/hello"), "k=200 hello");
}

#[test]
fn a_redirect_is_the_guest_s_to_follow() {
    assert_eq!(gets("location", "/moved"), "k=302 http://other.example/");
}

#[test]
fn a_body_is_sent_piece_by_piece() {
    assert_eq!(gets("post 1000000", "/count"), "k=200 1000000");
}

#[test]
fn a_host_that_is_not_allowed_is_denied_and_spoken_of_once() {
    let server = Server::start();
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let mut stage = fetch(&["api.example.com", "127.0.0.1"]);
    let mut get = |address: &str| says(&mut stage, &format!("get http://{address}/hello"));
    let (said, lines) = lines(|| [get(&server.address), get(&server.address), get("EVIL.example.org:80")]);
    assert_eq!(said, ["k=ErrorCode::HttpRequestDenied"; 3]);
    let denied =
        |host: &str| format!("WARN trial: a request to {host} is denied: `allow: {{http: […]}}` does not name it");
    assert_eq!(lines, [denied(&format!("127.0.0.1:{port}")), denied("evil.example.org")]);
    assert_eq!(get(&format!("user@{}", server.address)), "k=ErrorCode::HttpRequestUriInvalid");
    assert_eq!(server.connections(), 0);
}

#[test]
fn without_a_host_that_is_allowed_everything_is_denied() {
    let mut stage = fetch(&[]);
    assert_eq!(says(&mut stage, "get https://api.example.com/"), "k=ErrorCode::HttpRequestDenied");
}

#[test]
fn a_server_that_does_not_answer_costs_the_record_its_time() {
    assert_eq!(gets_quickly("get", "/never"), WALL);
}

#[test]
fn a_body_that_never_ends_costs_the_record_its_time() {
    assert_eq!(gets_quickly("get", "/trickle"), WALL);
}

#[test]
fn a_server_that_takes_no_body_costs_the_record_its_time() {
    assert_eq!(gets_quickly("post 100000000", "/deaf"), WALL);
}

#[test]
fn a_body_that_is_too_large_costs_the_guest_its_memory() {
    let said = gets("get", "/flood");
    assert!(said.starts_with("limit("), "{said}");
}

#[test]
fn what_a_server_does_wrong_is_told_in_a_code() {
    // wasmtime-wasi-http has no code for what happens to a body, but words.
    let half = gets("get", "/half");
    assert!(half.starts_with(CUT_OFF), "{half}");
    assert_eq!(gets("get", "/headers"), "k=ErrorCode::HttpResponseHeaderSectionSize(None)");
    assert_eq!(gets("get", "/garbage"), "k=ErrorCode::HttpProtocolError");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(says(&mut fetch(&[&closed]), &format!("get http://{closed}/")), "k=ErrorCode::ConnectionRefused");
    let server = Server::start();
    let mut stage = fetch(&[&server.address]);
    assert_eq!(says(&mut stage, &format!("get https://{}/", server.address)), "k=ErrorCode::TlsProtocolError");
}

#[test]
fn an_instance_goes_on_after_a_request_that_failed() {
    let server = Server::start();
    let mut stage = fetch(&[&server.address]);
    for _ in 0..100 {
        let half = says(&mut stage, &format!("get http://{}/half", server.address));
        assert!(half.starts_with(CUT_OFF), "{half}");
        assert_eq!(says(&mut stage, &format!("head http://{}/trickle", server.address)), "k=200");
    }
    assert_eq!(says(&mut stage, &format!("get http://{}/hello", server.address)), "k=200 hello");
}

#[test]
fn no_request_is_sent_before_its_record_s_turn() {
    let server = Server::start();
    let mut stage = fetch(&[&server.address]);
    let value = Some(format!("get http://{}/hello", server.address).into_bytes());
    let entry = Entry { value, ..Entry::default() };
    let batch = Rc::new(Entries::new(vec![Given { input: 0, entry }; 3]));
    for index in 0..3 {
        let said = stage.transform(InHand { record: batch.get(index), batch: batch.clone(), index, attempt: 1 });
        assert_eq!(show(&said), "none=200 hello");
        assert_eq!(server.connections(), index + 1);
    }
}
