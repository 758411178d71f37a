//! What can be asked for, and what is answered.

use super::{Admin, cluster, metrics, view};
use crate::{supervisor::State, swap::Refused, wasm};
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Duration;

/// The largest module that is taken.
const MODULE_BYTES: usize = wasm::MODULE_SIZE as usize;
/// The largest topic, with all of its settings.
const TOPIC_BYTES: usize = 16 << 10;
/// The largest body of any other request.
const BODY_BYTES: usize = 1 << 10;

/// How long a module that was only prepared is kept.
const KEPT: Duration = Duration::from_mins(10);

/// One thing that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// How.
    pub method: &'static str,
    /// Where; `{name}` stands for a stage.
    pub path: &'static str,
    /// The largest body that it takes.
    pub body_bytes: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Live,
    Ready,
    Metrics,
    Status,
    Cluster,
    MakeTopic,
    Stages,
    Stage,
    Swaps,
    Module,
    Swap,
    RollBack,
    Pause,
    Resume,
    OpenApi,
}

const fn route(method: &'static str, path: &'static str, what: What) -> Route {
    let body_bytes = match what {
        What::Module => MODULE_BYTES,
        What::MakeTopic => TOPIC_BYTES,
        _ => BODY_BYTES,
    };
    Route { method, path, body_bytes, what }
}

/// All that can be asked for; `openapi.json` describes it.
pub const ROUTES: [Route; 15] = [
    route("GET", "/health/live", What::Live),
    route("GET", "/health/ready", What::Ready),
    route("GET", "/metrics", What::Metrics),
    route("GET", "/v1/openapi.json", What::OpenApi),
    route("GET", "/v1/status", What::Status),
    route("GET", "/v1/cluster", What::Cluster),
    route("POST", "/v1/topics", What::MakeTopic),
    route("GET", "/v1/stages", What::Stages),
    route("GET", "/v1/stages/{name}", What::Stage),
    route("GET", "/v1/stages/{name}/swaps", What::Swaps),
    route("PUT", "/v1/stages/{name}/module", What::Module),
    route("POST", "/v1/stages/{name}/swap", What::Swap),
    route("POST", "/v1/stages/{name}/rollback", What::RollBack),
    route("POST", "/v1/stages/{name}/pause", What::Pause),
    route("POST", "/v1/stages/{name}/resume", What::Resume),
];

/// What the API is, for machines.
const OPENAPI: &str = include_str!("openapi.json");

/// A route, and the stage that is meant.
pub(super) struct Call {
    pub(super) route: Route,
    name: String,
}

/// An answer, before it is on its way.
pub(super) struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    pub(super) fn json(value: &Value) -> Answer {
        Answer { status: StatusCode::OK, kind: "application/json", body: format!("{value}\n") }
    }

    /// What was made.
    pub(super) fn made(value: &Value) -> Answer {
        Answer { status: StatusCode::CREATED, ..Answer::json(value) }
    }

    /// What is wrong, and what to do.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
        let error = json!({"error": {"code": code, "message": message}});
        Answer { status, ..Answer::json(&error) }
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(Answer { status, kind, body }: Answer) -> Self {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
        response
    }
}

/// Which route a request means.
pub(super) fn find(method: &Method, path: &str) -> Result<Call, Answer> {
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(name) = matched(route.path, path) else { continue };
        if route.method == method.as_str() {
            return Ok(Call { route, name: name.to_owned() });
        }
        others.push(route.method);
    }
    Err(match others[..] {
        [] => Answer::error(StatusCode::NOT_FOUND, "not-found", "there is nothing here: see /v1/openapi.json"),
        _ => {
            let why = format!("this is for {} alone", others.join(" and "));
            Answer::error(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", &why)
        }
    })
}

/// What stands in a path for `{name}`, when it is of this form; nothing stands there when the form has none.
fn matched<'a>(form: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, behind)) = form.split_once("{name}") else { return (form == path).then_some("") };
    let name = path.strip_prefix(before)?.strip_suffix(behind)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

impl Call {
    /// True when it is answered at once, whatever else is waited for.
    pub(super) fn is_health(&self) -> bool {
        matches!(self.route.what, What::Live | What::Ready)
    }
}

/// Answers; may wait for the log, for a compiler, and for a swap.
pub(super) fn answer(admin: &Admin, call: Call, query: &str, body: Vec<u8>) -> Answer {
    let Call { route, name } = call;
    match route.what {
        What::Live => Answer::json(&json!({"live": true})),
        What::Ready => ready(admin),
        What::Metrics => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Answer { status: StatusCode::OK, kind, body: metrics::metrics(admin) }
        }
        What::OpenApi => Answer { status: StatusCode::OK, kind: "application/json", body: OPENAPI.to_owned() },
        What::Status => Answer::json(&view::status(admin)),
        What::Cluster => cluster::show(admin),
        What::MakeTopic => cluster::make_topic(admin, &body),
        What::Stages => Answer::json(&json!({"stages": view::parts(admin)})),
        What::Stage => with_part(admin, &name, |running| {
            let mut part = view::part(admin, running);
            part["members"] = match flag(query, "members", true) {
                Ok(true) => json!(view::members(running)),
                Ok(false) => Value::Null,
                Err(answer) => return answer,
            };
            if let Some(modules) = running.modules() {
                part["shadow"] = json!(modules.looked().map(|looked| view::shadow(admin, &name, &looked)));
            }
            Answer::json(&part)
        }),
        What::Swaps => with_desk(admin, &name, |desk| match desk.swaps() {
            Ok(swaps) => Answer::json(&json!({"swaps": swaps})),
            Err(error) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", &format!("{error:#}")),
        }),
        What::Module => with_desk(admin, &name, |desk| {
            let (wait, prepare) = match (flag(query, "wait", true), flag(query, "prepare", false)) {
                (Ok(wait), Ok(prepare)) => (wait, prepare),
                (Err(answer), _) | (_, Err(answer)) => return answer,
            };
            let module = match said(query, "name") {
                None => format!("{name}.wasm"),
                Some(module) if is_name(module) => module.to_owned(),
                Some(_) => {
                    let why = "`name` is a file's name: letters, digits, `.`, `-` and `_`";
                    return Answer::error(StatusCode::BAD_REQUEST, "invalid", why);
                }
            };
            if let Some(records) = said(query, "shadow") {
                let Some(records) = records.parse().ok().filter(|records| *records > 0 && !prepare) else {
                    let why = "`shadow` is a number of records, and goes without `prepare`";
                    return Answer::error(StatusCode::BAD_REQUEST, "invalid", why);
                };
                return match desk.look_on(&module, body, records) {
                    Ok(looked) => {
                        let shadow = view::shadow(admin, &name, &looked);
                        Answer { status: StatusCode::ACCEPTED, ..Answer::json(&json!({"shadow": shadow})) }
                    }
                    Err(refused) => refusal(&refused),
                };
            }
            if prepare {
                return match desk.keep_prepared(&module, body) {
                    Ok((module, gains)) => {
                        let desk = desk.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(KEPT).await;
                            desk.forget_prepared(KEPT);
                        });
                        Answer::json(&json!({"prepared": module, "gains": gains}))
                    }
                    Err(refused) => refusal(&refused),
                };
            }
            match desk.prepare(&module, body).and_then(|prepared| desk.swap(prepared, said(query, "instead-of"), wait))
            {
                Ok(swap) => Answer::json(&json!(swap)),
                Err(refused) => refusal(&refused),
            }
        }),
        What::Swap => with_desk(admin, &name, |desk| {
            let wait = match flag(query, "wait", true) {
                Ok(wait) => wait,
                Err(answer) => return answer,
            };
            let Some(digest) = said(query, "digest") else {
                return Answer::error(StatusCode::BAD_REQUEST, "invalid", "`digest` says which module was prepared");
            };
            match desk.swap_prepared(digest, said(query, "instead-of"), wait) {
                Ok(swap) => Answer::json(&json!(swap)),
                Err(refused) => refusal(&refused),
            }
        }),
        What::RollBack => with_desk(admin, &name, |desk| {
            let shadow = match flag(query, "shadow", false) {
                Ok(shadow) => shadow,
                Err(answer) => return answer,
            };
            let of = said(query, "digest");
            match if shadow { desk.look_away(of) } else { desk.roll_back(of) } {
                Ok(swap) => Answer::json(&json!(swap)),
                Err(refused) => refusal(&refused),
            }
        }),
        What::Pause => with_part(admin, &name, |running| paused(running, true)),
        What::Resume => with_part(admin, &name, |running| paused(running, false)),
    }
}

fn paused(running: &crate::supervisor::Running, paused: bool) -> Answer {
    if running.part.is_source() {
        return Answer::error(StatusCode::CONFLICT, "conflict", "a source cannot be paused");
    }
    if let State::Stopped | State::Ended = running.state() {
        return Answer::error(StatusCode::CONFLICT, "conflict", "it does not run any more");
    }
    running.control.pause(paused);
    tracing::info!("{}: {}", running.part.name, if paused { "paused" } else { "resumed" });
    Answer::json(&json!({"name": running.part.name, "state": running.state().word()}))
}

/// Ready is a host whose parts hold their partitions or wait for work, and of which none has stopped.
fn ready(admin: &Admin) -> Answer {
    let running = admin.running();
    let waits = |state| matches!(state, State::Starting | State::Stopped);
    let waiting: Vec<_> = running
        .iter()
        .filter(|part| waits(part.state()))
        .map(|part| json!({"name": part.part.name, "state": part.state().word()}))
        .collect();
    let is_ready = !running.is_empty() && waiting.is_empty();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer { status, ..Answer::json(&json!({"ready": is_ready, "waiting": waiting})) }
}

fn refusal(refused: &Refused) -> Answer {
    let why = refused.to_string();
    match refused {
        Refused::Module(_) => Answer::error(StatusCode::UNPROCESSABLE_ENTITY, "refused", &why),
        Refused::Conflict(_) => Answer::error(StatusCode::CONFLICT, "conflict", &why),
    }
}

fn with_part(admin: &Admin, name: &str, then: impl FnOnce(&crate::supervisor::Running) -> Answer) -> Answer {
    match admin.find(name) {
        Some(running) => then(running),
        None => unknown(admin, name),
    }
}

fn with_desk(admin: &Admin, name: &str, then: impl FnOnce(&std::sync::Arc<crate::swap::Desk>) -> Answer) -> Answer {
    match (admin.find(name), admin.desk(name)) {
        (None, _) => unknown(admin, name),
        (Some(_), Some(desk)) => then(desk),
        (Some(running), None) => {
            let kind = if running.part.is_source() { "source" } else { "sink" };
            let why = format!("{name} is a {kind}: only a stage's module can be replaced");
            Answer::error(StatusCode::CONFLICT, "conflict", &why)
        }
    }
}

fn unknown(admin: &Admin, name: &str) -> Answer {
    let running = admin.running();
    if running.is_empty() {
        let why = "nothing runs yet: the host is starting, or waits for a topic";
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "starting", why);
    }
    let known: Vec<_> = running.iter().map(|part| part.part.name.as_str()).collect();
    let why = match crate::text::nearest(name, known.iter().copied()) {
        Some(near) => format!("there is no such stage: did you mean {near}?"),
        None => format!("there is no such stage: {} runs here", known.join(", ")),
    };
    Answer::error(StatusCode::NOT_FOUND, "not-found", &why)
}

/// What a query says of this; as it is, since none of what may stand here needs to be encoded.
fn said<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

fn flag(query: &str, key: &str, default: bool) -> Result<bool, Answer> {
    match said(query, key) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => {
            let why = format!("`{key}` is true or false");
            Err(Answer::error(StatusCode::BAD_REQUEST, "invalid", &why))
        }
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.chars().all(fits)
}
