//! Where requests come in: who may, how large they may be, and how long they may take.

use super::{
    Admin,
    routes::{self, Answer},
};
use crate::text::hex;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};

/// The port that is tried first when nobody says which.
const PORT: u16 = 8080;
/// How many ports are tried then.
const PORTS: u16 = 200;
/// How many requests are answered at once; others wait.
const AT_ONCE: usize = 64;
/// A body that is larger is a module.
const SMALL_BYTES: usize = 64 << 10;
/// The most of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// How long the head of a request may take to come, its body, and its answer to go.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const BODY_WITHIN: Duration = Duration::from_secs(60);
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// What a request shows to be let in.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads it from a file, without the white space around it.
    pub fn read(path: &Path) -> Result<Token> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        match text.trim() {
            "" => bail!("{} is empty: write a token into it, such as 32 random characters", path.display()),
            token => Ok(Token::of(token)),
        }
    }

    fn of(token: &str) -> Token {
        Token(Sha256::digest(token.as_bytes()).into())
    }

    /// Of digests: how much of them is equal tells nothing.
    fn fits(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            shown.and_then(|shown| shown.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| hex(&Token::of(token.trim()).0) == hex(&self.0))
    }
}

/// An address that requests come to.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
    /// Nothing is steered here: health and metrics alone.
    only_seen: bool,
}

impl Door {
    /// The admin API at this address, or, when none is given, at the first free port from 8080 on, on loopback. Beyond
    /// loopback it wants a token.
    pub fn open(address: Option<SocketAddr>, token: Option<Token>) -> Result<Door> {
        let listener = match address {
            Some(address) if !address.ip().is_loopback() && token.is_none() => {
                bail!("{address} can be reached from elsewhere: name a token by --admin-token-file, or use 127.0.0.1")
            }
            Some(address) => bind(address)?,
            None => {
                let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
                (PORT..PORT + PORTS).find_map(free).context("no port is free for the admin API: name one by --admin")?
            }
        };
        Door::of(listener, token, false)
    }

    /// Metrics and health alone, for anybody.
    pub fn open_metrics(address: SocketAddr) -> Result<Door> {
        Door::of(bind(address)?, None, true)
    }

    fn of(listener: TcpListener, token: Option<Token>, only_seen: bool) -> Result<Door> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Door { listener, address, token, only_seen })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn serve(self, admin: Arc<Admin>) {
        let Door { listener, address, token, only_seen } = self;
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("nothing is answered at {address}: {error}"),
        };
        let rules =
            Arc::new(Rules { token, only_seen, is_loopback: address.ip().is_loopback(), modules: Semaphore::new(1) });
        let room = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // As when no more files can be opened: it passes.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (admin, rules) = (admin.clone(), rules.clone());
            tokio::spawn(async move {
                let _place = place;
                let answered = Notify::new();
                let answer = service_fn(async |request| {
                    let answer = answer(&admin, &rules, request).await;
                    answered.notify_one();
                    Ok::<_, Infallible>(answer)
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_WITHIN)
                    .max_buf_size(HEAD_BYTES)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // Who does not read its answer is cut off, as is who does not send its request.
                tokio::select! {
                    _ = connection => {}
                    () = async {
                        answered.notified().await;
                        tokio::time::sleep(TAKEN_WITHIN).await;
                    } => {}
                }
            });
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("{address} cannot be listened at"))
}

struct Rules {
    token: Option<Token>,
    only_seen: bool,
    is_loopback: bool,
    modules: Semaphore,
}

impl Rules {
    /// Why a request is not let in.
    fn objection(&self, request: &Request<Incoming>) -> Option<Answer> {
        let (path, headers) = (request.uri().path(), request.headers());
        let is_open = path.starts_with("/health/");
        if self.only_seen && !is_open && path != "/metrics" {
            let why = "metrics and health are all there is at this address";
            return Some(Answer::error(StatusCode::NOT_FOUND, "not-found", why));
        }
        if let Some(token) = &self.token
            && !is_open
            && !token.fits(headers)
        {
            let why = "a token is wanted: `Authorization: Bearer …`, as in --admin-token-file";
            return Some(Answer::error(StatusCode::UNAUTHORIZED, "unauthorized", why));
        }
        // A page in a browser reaches what is on loopback by a name of its own, or says where it comes from.
        if self.is_loopback && self.token.is_none() && !is_named_local(request) {
            let why = "the Host header names no address of this machine";
            return Some(Answer::error(StatusCode::FORBIDDEN, "foreign-host", why));
        }
        if request.method() != Method::GET && headers.contains_key(header::ORIGIN) {
            return Some(Answer::error(StatusCode::FORBIDDEN, "foreign-origin", "this is not for pages in a browser"));
        }
        None
    }
}

fn is_named_local(request: &Request<Incoming>) -> bool {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = named.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn answer(admin: &Arc<Admin>, rules: &Rules, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(objection) = rules.objection(&request) {
        return objection.into();
    }
    let (head, body) = request.into_parts();
    let call = match routes::find(&head.method, head.uri.path()) {
        Ok(call) => call,
        Err(answer) => return answer.into(),
    };
    if call.is_health() {
        return routes::answer(admin, call, "", Vec::new()).into();
    }
    // A module is large: one at a time is taken in.
    let _place = match call.route.body_bytes > SMALL_BYTES {
        true => rules.modules.acquire().await.ok(),
        false => None,
    };
    let too_large = || {
        let why = format!("the body has more than {} bytes", call.route.body_bytes);
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "too-large", &why).into()
    };
    // What says that it is too large is not read at all.
    if body.size_hint().lower() > call.route.body_bytes as u64 {
        return too_large();
    }
    let body = match timeout(BODY_WITHIN, Limited::new(body, call.route.body_bytes).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
        Ok(Err(_)) => return Answer::error(StatusCode::BAD_REQUEST, "cut-off", "the body was cut off").into(),
        Err(_) => return Answer::error(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long").into(),
    };
    let (admin, query) = (admin.clone(), head.uri.query().unwrap_or_default().to_owned());
    let answer = tokio::task::spawn_blocking(move || routes::answer(&admin, call, &query, body.to_vec())).await;
    let failed = || Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "defect", "a defect of the host: see its log");
    answer.unwrap_or_else(|_| failed()).into()
}
