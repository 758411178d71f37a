//! The admin API, as a client that we did not write has it, and as one that means harm.

use crate::{
    process::{Host, with_manners},
    support::Pipeline,
    swapping::send,
};
use fastrand::Rng;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, time::Duration};

const COPIES: &str = "
topics: {in: {partitions: 2}, out: {partitions: 2}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, on-error: {reject: skip, fault: dead-letter}}
";

fn run(pipeline: &Pipeline, words: &str) -> Host {
    pipeline.says("topics create in --partitions 2");
    pipeline.run(&format!("--admin 127.0.0.1:0 {words}"))
}

fn ask(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    send(address, format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").as_bytes())
}

fn error(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body:?}"));
    assert!(value["error"]["message"].is_string(), "{body}");
    value["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_stage_is_paused_and_goes_on_where_it_was() {
    let pipeline = Pipeline::new(COPIES);
    let host = run(&pipeline, "");
    let address = host.admin();
    let ready = || ask(&address, "GET", "/health/ready", "").0 == 200;
    host.until("it is ready", Duration::from_secs(30), ready);
    assert_eq!(pipeline.says(&format!("status --ready --admin {address}")), "ready\n");
    assert_eq!(ask(&address, "POST", "/v1/stages/copy/pause", "").0, 200);
    std::thread::sleep(Duration::from_millis(300));
    pipeline.produce("in", &["k:one".to_owned()]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(pipeline.records("out").len(), 0);
    assert!(ask(&address, "GET", "/v1/stages/copy", "").1.contains("\"state\":\"paused\""));
    assert_eq!(ask(&address, "POST", "/v1/stages/copy/resume", "").0, 200);
    host.until("it goes on", Duration::from_secs(30), || pipeline.values("out") == ["one"]);
}

#[test]
fn a_host_with_a_stage_that_stopped_is_not_ready_and_says_which() {
    let pipeline = Pipeline::new(
        "
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, on-error: stop}
  other: {module: '{guests}/trial.wasm', input: in, output: out}
",
    );
    let host = run(&pipeline, "");
    let asks = format!("status --ready --admin {}", host.admin());
    let ready = || pipeline.given("", &asks);
    host.until("it is ready", Duration::from_secs(30), || ready().code == 0);
    pipeline.produce("in", &["k:reject".to_owned()]);
    host.until("it is not any more", Duration::from_secs(30), || ready().code == 1);
    assert_eq!(ready().out, "not ready: copy is stopped\n");
}

#[test]
fn what_is_counted_is_what_the_topics_hold() {
    let pipeline = Pipeline::new(COPIES);
    let host = run(&pipeline, "");
    let address = host.admin();
    let words = ["pass", "filter", "reject", "fault", "panic", "burst 3 x", "loop"];
    let lines: Vec<_> =
        (0..140).map(|number| format!("k{number}:{}", words[number % if number > 20 { 6 } else { 7 }])).collect();
    pipeline.produce("in", &lines);
    let read = || -> BTreeMap<String, f64> {
        let (status, text) = ask(&address, "GET", "/metrics", "");
        assert_eq!(status, 200, "{text}");
        let values = text.lines().filter(|line| !line.starts_with('#'));
        values
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.into(), value.parse().unwrap()))
            .collect()
    };
    let of = |metrics: &BTreeMap<String, f64>, name: &str| metrics.get(name).copied().unwrap_or(-1.0);
    let received = "millstream_records_received_total{stage=\"copy\"}";
    host.until("all are done", Duration::from_secs(60), || of(&read(), received) == 140.0);
    let metrics = read();
    assert_eq!(of(&metrics, "millstream_swaps_total{stage=\"copy\",outcome=\"rolled-back\"}"), 0.0);
    let stage = |name: &str| of(&metrics, &format!("millstream_records_{name}_total{{stage=\"copy\"}}"));
    let dead =
        |kind: &str| of(&metrics, &format!("millstream_records_dead_lettered_total{{stage=\"copy\",kind=\"{kind}\"}}"));
    let letters: f64 = ["reject", "fault", "limit", "retry"].into_iter().map(dead).sum();
    assert_eq!(stage("received"), stage("transformed") + stage("filtered") + letters + stage("skipped"), "{metrics:?}");
    assert_eq!(letters as usize, pipeline.records("test.copy.dead-letter").len());
    let emitted = of(&metrics, "millstream_records_emitted_total{stage=\"copy\",output=\"out\"}");
    assert_eq!(emitted as usize, pipeline.records("out").len());
    assert!(dead("limit") == 3.0 && stage("skipped") > 0.0 && stage("filtered") > 0.0, "{metrics:?}");
    assert_eq!(of(&metrics, "millstream_transform_duration_seconds_bucket{stage=\"copy\",le=\"+Inf\"}") as u64, {
        of(&metrics, "millstream_transform_duration_seconds_count{stage=\"copy\"}") as u64
    });
}

#[test]
fn what_is_asked_wrongly_is_answered_and_does_no_harm() {
    let pipeline = Pipeline::new(COPIES);
    let mut host = run(&pipeline, "");
    let address = host.admin();
    host.until("it is ready", Duration::from_secs(30), || ask(&address, "GET", "/health/ready", "").0 == 200);
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v1/stages",
        "/v1/stages/",
        "/v1/stages/copy",
        "/v1/stages/copy/",
        "/v1/stages/nobody",
        "/v1/stages/copy/module",
        "/v1/stages/copy/swaps",
        "/v1/stages/copy/swap",
        "/v1/stages/copy/rollback",
        "/v1/stages/%2e%2e/module",
        "/v1/stages/../../etc/passwd",
        "/v1/stages/copy/module?wait=maybe",
        "/v1/stages/copy/module?name=../x.wasm",
        "/v1/stages/copy/module?name=",
        "/v1/status",
        "/v1/cluster",
        "/v1/topics",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/health/",
        "/v1/openapi.json",
        "//",
        "/v1/stages/co%00py",
        "/v1/stages/🦀/swaps",
    ];
    for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "NONSENSE"] {
        for path in paths {
            // What is right is tried elsewhere.
            let (status, body) = send(
                &address,
                format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 4\r\n\r\nnull").as_bytes(),
            );
            assert!(status < 500 && status != 0 || status == 0 && body.is_empty(), "{method} {path}: {status} {body}");
            if status >= 400 && method != "HEAD" && !body.is_empty() {
                error(&body);
            }
        }
    }
    // Whoever is led here by a name of its own, or by a page, is not let in.
    let foreign =
        format!("GET /v1/status HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", address.rsplit_once(':').unwrap().1);
    let (status, body) = send(&address, foreign.as_bytes());
    assert_eq!((status, error(&body).as_str()), (403, "foreign-host"));
    let (status, body) = ask(&address, "POST", "/v1/stages/copy/pause", "Origin: http://evil.example\r\n");
    assert_eq!((status, error(&body).as_str()), (403, "foreign-origin"));
    let (status, _) = send(&address, b"GET /v1/status HTTP/1.1\r\n\r\n");
    assert_eq!(status, 403);
    // What is too large is not read to its end.
    let (status, body) = ask(&address, "PUT", "/v1/stages/copy/module", "Content-Length: 99999999999\r\n");
    assert_eq!((status, error(&body).as_str()), (413, "too-large"));
    assert_eq!(ask(&address, "POST", "/v1/stages/copy/pause", "Content-Length: 2000\r\n").0, 413);
    let long = format!("GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n", "x".repeat(100_000));
    assert!([400, 414, 431].contains(&send(&address, long.as_bytes()).0));
    send(&address, &[0; 4096]);
    assert!(host.is_running() && ask(&address, "GET", "/health/live", "").0 == 200, "{}", host.said());
    assert!(!host.said().contains("panicked"), "{}", host.said());
}

/// What the API says of itself, to hold its answers against.
struct Described(Value);

impl Described {
    /// As the host tells it. What an answer holds beside what is described would be wrong.
    fn by(address: &str) -> Described {
        let mut described: Value = serde_json::from_str(&ask(address, "GET", "/v1/openapi.json", "").1).unwrap();
        for (_, schema) in described["components"]["schemas"].as_object_mut().unwrap() {
            if schema["properties"].is_object() {
                schema["additionalProperties"] = json!(false);
            }
        }
        Described(described)
    }

    /// Fails unless this answer to this request is described.
    fn hold(&self, method: &str, path: &str, (status, body): &(u16, String)) {
        let about = || format!("{method} {path}: {status} {body}");
        let path = path.split('?').next().unwrap();
        let form: Vec<_> = path.split('/').collect();
        let named = match form[..] {
            ["", "v1", "stages", name] if !name.is_empty() => "/v1/stages/{name}".to_owned(),
            ["", "v1", "stages", name, what] if !name.is_empty() => format!("/v1/stages/{{name}}/{what}"),
            _ => path.to_owned(),
        };
        let answers = &self.0["paths"][named][method.to_lowercase()]["responses"];
        let error = json!({"$ref": "#/components/schemas/Error"});
        let content = answers[status.to_string()]["content"].as_object().and_then(|content| content.iter().next());
        let schema = match content {
            Some((kind, _)) if kind != "application/json" => return,
            Some((_, content)) => &content["schema"],
            // What the door says to everybody: there is no such thing, or not so, or not so much.
            None => {
                assert!([404, 405, 413].contains(status), "{}", about());
                &error
            }
        };
        let schema = json!({"allOf": [schema], "components": self.0["components"]});
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{}", about()));
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Err(error) = validator.validate(&answer) {
            panic!("{}: {error}", about());
        }
    }
}

/// One of these.
fn any<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(0..of.len())]
}

#[test]
fn whatever_is_sent_is_answered_as_described_and_does_no_harm() {
    let pipeline = Pipeline::new(COPIES);
    let mut host = run(&pipeline, "");
    let address = host.admin();
    host.until("it is ready", Duration::from_secs(30), || ask(&address, "GET", "/health/ready", "").0 == 200);
    let described = Described::by(&address);
    let good = [with_manners("marks-one"), with_manners("marks-two"), with_manners("panics")];
    let mut rng = Rng::with_seed(11);
    let mut answers: BTreeMap<u16, u32> = BTreeMap::new();
    let mut differs = false;
    for turn in 0..600 {
        let name = any(&mut rng, &["copy", "copy", "copy", "copy", "copi", "🦀", "%2e%2e", "a b"]);
        let path = match rng.u8(0..10) {
            0 => any(
                &mut rng,
                &[
                    "/health/live",
                    "/health/ready",
                    "/metrics",
                    "/v1/status",
                    "/v1/stages",
                    "/v1/cluster",
                    "/v1/topics",
                    "/v1",
                    "/",
                ],
            )
            .into(),
            1 => format!("/v1/stages/{name}"),
            2..5 => format!("/v1/stages/{name}/module"),
            _ => {
                let what = any(&mut rng, &["swaps", "swap", "rollback", "pause", "resume", "nothing"]);
                format!("/v1/stages/{name}/{what}")
            }
        };
        let query = any(
            &mut rng,
            &[
                "wait=false",
                "wait=false",
                "prepare=true",
                "wait=no",
                "digest=",
                "digest=0123&wait=false",
                "name=a.wasm&prepare=true",
                "shadow=3&wait=false",
                "shadow=1",
                "shadow=0",
                "shadow=true",
                "members=false",
                "instead-of=0123&wait=false",
            ],
        );
        let module = &good[rng.usize(0..good.len())];
        let body = match rng.u8(0..6) {
            0 => Vec::new(),
            1.. if !path.ends_with("/module") && rng.u8(0..5) > 0 => Vec::new(),
            1 => (0..rng.usize(0..3000)).map(|_| rng.u8(..)).collect(),
            2 => module[..rng.usize(0..module.len())].to_vec(),
            3 => module.clone(),
            _ => {
                let mut body = module.clone();
                (0..rng.usize(1..20)).for_each(|_| {
                    let at = rng.usize(0..body.len());
                    body[at] = rng.u8(..);
                });
                body
            }
        };
        let method = match path.as_str() {
            path if rng.u8(0..6) > 0 && path.ends_with("/module") => "PUT",
            path if rng.u8(0..4) > 0 && path.ends_with(['p', 'k', 'e']) => "POST",
            _ => any(&mut rng, &["GET", "GET", "PUT", "POST", "DELETE", "PATCH"]),
        };
        // What is not sent is waited for, until the client goes.
        let told = if turn % 50 == 7 { body.len() + 10 } else { body.len() };
        let mut request =
            format!("{method} {path}?{query} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {told}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(&body);
        let answer = match told == body.len() {
            true => send(&address, &request),
            false => leave(&address, &request),
        };
        assert!(host.is_running() && !host.said().contains("panicked"), "{method} {path}: {}", host.said());
        *answers.entry(answer.0).or_default() += 1;
        if turn % 20 == 0 {
            // What is on trial, or looks on, has something to do.
            pipeline.produce("in", &[format!("a:pass {turn}"), format!("b:many 2 {turn}")]);
            described.hold("GET", "/v1/stages/copy", &ask(&address, "GET", "/v1/stages/copy", ""));
        }
        if turn % 100 == 0 {
            // So does one that is left to look on.
            ask(&address, "POST", "/v1/stages/copy/resume", "");
            let path = "/v1/stages/copy/module?shadow=2";
            let module = &good[turn / 100 % 2];
            let mut request =
                format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", module.len())
                    .into_bytes();
            request.extend_from_slice(module);
            let begun = send(&address, &request);
            described.hold("PUT", path, &begun);
            *answers.entry(begun.0).or_default() += 1;
            pipeline.produce("in", &["a:pass", "b:pass", "c:pass"].map(str::to_owned));
            let look = || ask(&address, "GET", "/v1/stages/copy?members=false", "");
            if begun.0 == 202 {
                host.until("it has looked on", Duration::from_secs(30), || {
                    !look().1.contains("\"state\":\"running\",\"why\"")
                });
            }
            let looked = look();
            described.hold("GET", "/v1/stages/copy", &looked);
            differs |= looked.1.contains("\"difference\":[\"");
        }
        // One that is no HTTP has no answer in JSON.
        if answer.0 != 0 && !(answer.0 == 400 && answer.1.is_empty()) {
            assert_ne!(answer.0, 500, "{method} {path}: {}", answer.1);
            described.hold(method, &path, &answer);
        }
    }
    assert!(differs, "no module that looked on has made something else");
    for status in [200, 202, 400, 404, 405, 409, 422] {
        assert!(answers.get(&status).is_some_and(|count| *count > 4), "hardly ever answered: {status} of {answers:?}");
    }
    // Whatever runs now, it can be steered back to what does its work.
    ask(&address, "POST", "/v1/stages/copy/resume", "");
    ask(&address, "POST", "/v1/stages/copy/rollback", "");
    pipeline.produce("in", &["a:pass the last".to_owned()]);
    host.until("a record comes through", Duration::from_secs(30), || {
        pipeline.values("out").iter().any(|value| value == "pass the last")
    });
}

/// Sends these bytes, and goes without waiting for an answer.
fn leave(address: &str, request: &[u8]) -> (u16, String) {
    use std::io::Write;
    std::net::TcpStream::connect(address).unwrap().write_all(request).ok();
    (0, String::new())
}

/// Sends a topic to be made.
fn make(address: &str, topic: &str) -> (u16, String) {
    let head = format!("POST /v1/topics HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", topic.len());
    send(address, (head + topic).as_bytes())
}

#[test]
fn the_log_is_shown_and_takes_topics() {
    let pipeline = Pipeline::new(COPIES);
    let host = run(&pipeline, "");
    let address = host.admin();
    host.until("it is ready", Duration::from_secs(30), || ask(&address, "GET", "/health/ready", "").0 == 200);
    let described = Described::by(&address);
    let shown = || -> Value {
        let answer = ask(&address, "GET", "/v1/cluster", "");
        described.hold("GET", "/v1/cluster", &answer);
        serde_json::from_str(&answer.1).unwrap()
    };
    let before = shown();
    assert_eq!(
        (&before["kind"], &before["brokers"], &before["controller"]),
        (&json!("embedded"), &json!([]), &Value::Null)
    );
    let has = |view: &Value, topic: &str, partitions: u32| {
        let row = json!({"topic": topic, "partitions": partitions, "replication": 0});
        view["topics"].as_array().unwrap().contains(&row)
    };
    assert!(!has(&before, "made", 3));
    for (topic, status, code) in [
        (
            r#"{"topic": "made", "partitions": 3, "config": {"retention.ms": 1000, "cleanup.policy": "compact"}}"#,
            201,
            "",
        ),
        (r#"{"topic": "made", "partitions": 3}"#, 409, "conflict"),
        (r#"{"topic": "plain"}"#, 201, ""),
        (r#"{"topic": "my topic"}"#, 400, "invalid"),
        (r#"{"topic": "none", "partitions": 0}"#, 400, "invalid"),
        (r#"{"topic": "none", "partitions": -1}"#, 400, "invalid"),
        (r#"{"topic": "none", "replicas": 1}"#, 400, "invalid"),
        (r#"{"topic": "none", "config": {"retention.ms": [1]}}"#, 400, "invalid"),
        (r#"{"partitions": 1}"#, 400, "invalid"),
        ("", 400, "invalid"),
        (r#"{"topic": "none", "config": {"retention.ms": "soon"}}"#, 422, "refused"),
        (r#"{"topic": "none", "partitions": 1000000}"#, 422, "refused"),
    ] {
        let answer = make(&address, topic);
        described.hold("POST", "/v1/topics", &answer);
        assert_eq!(answer.0, status, "{topic}: {}", answer.1);
        if status >= 400 {
            assert_eq!(error(&answer.1), code, "{topic}: {}", answer.1);
        }
    }
    assert_eq!(make(&address, &format!("{{\"topic\": \"{}\"}}", "x".repeat(20_000))).0, 413);
    let after = shown();
    assert!(has(&after, "made", 3) && has(&after, "plain", 1) && !after.to_string().contains("none"), "{after}");
    let made = pipeline.says("topics describe made --json");
    assert!(made.contains(r#""retention.ms":"1000""#) && made.contains(r#""cleanup.policy":"compact""#), "{made}");
    assert!(host.said().contains("topic made made with 3 partitions"), "{}", host.said());
}

#[test]
fn who_has_no_token_sees_health_alone() {
    let pipeline = Pipeline::new(COPIES);
    fs::write(pipeline.path("token"), "swordfish\n").unwrap();
    let host = run(&pipeline, "--admin-token-file token");
    let address = host.admin();
    host.until("it is ready", Duration::from_secs(30), || ask(&address, "GET", "/health/ready", "").0 == 200);
    for token in
        ["", "Authorization: Bearer sword\r\n", "Authorization: swordfish\r\n", "Authorization: Basic swordfish\r\n"]
    {
        let (status, body) = ask(&address, "GET", "/v1/status", token);
        assert_eq!((status, error(&body).as_str()), (401, "unauthorized"), "{token}");
        assert_eq!(ask(&address, "GET", "/metrics", token).0, 401);
    }
    assert_eq!(ask(&address, "GET", "/v1/status", "Authorization: Bearer swordfish\r\n").0, 200);
    assert!(!host.said().contains("swordfish"));
    let said = pipeline.given("", &format!("status --admin {address}"));
    assert!(said.code == 1 && said.err.contains("a token is wanted"), "{said:?}");
    assert!(pipeline.says(&format!("status --admin-token-file token --admin {address}")).contains("copy"));
}

#[test]
fn an_address_that_others_can_reach_wants_a_token_and_one_that_is_taken_is_refused() {
    let pipeline = Pipeline::new(COPIES);
    let said = pipeline.given("", "run pipeline.yaml --admin 0.0.0.0:0");
    assert!(said.code == 2 && said.err.contains("name a token by --admin-token-file"), "{said:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = pipeline.given("", &format!("run pipeline.yaml --admin {}", taken.local_addr().unwrap()));
    assert!(said.code == 2 && said.err.contains("cannot be listened at"), "{said:?}");
}
