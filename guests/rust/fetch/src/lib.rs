//! A stage for the host's tests: it sends a request to the address in the value, after a word that says how, and
//! gives the status and the body that it got, or in a few words why it got none.

use millstream::{Bytes, Failure, Record, record};
use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
            http_error_code,
        },
    },
    io::streams::StreamError,
};

millstream::stage!(transform);

fn transform(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let text = String::from_utf8(value.unwrap_or_default()).unwrap_or_default();
    let said = match text.split_once(' ') {
        Some(("get", address)) => get(address, None).and_then(read),
        Some(("head", address)) => get(address, None).map(|response| response.status().to_string()),
        Some(("location", address)) => get(address, None).map(|response| header(&response, "location")),
        Some(("post", rest)) => {
            let (size, address) = rest.split_once(' ').unwrap_or_default();
            get(address, size.parse().ok()).and_then(read)
        }
        _ => Ok("pass".into()),
    };
    let value = said.unwrap_or_else(|error| format!("{error:?}"));
    Ok(vec![record(key, value)])
}

/// Sends a request, with a body of this size if there is one, and waits for the head of its answer.
fn get(address: &str, size: Option<usize>) -> Result<IncomingResponse, ErrorCode> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let wrong = |()| ErrorCode::HttpRequestUriInvalid;
    request.set_scheme(Some(&scheme)).map_err(wrong)?;
    request.set_authority(Some(authority)).map_err(wrong)?;
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(wrong)?;
    let body = request.body().expect("it is asked for once");
    if size.is_some() {
        request.set_method(&Method::Post).expect("a method");
    }
    let answer = outgoing_handler::handle(request, None)?;
    if let Some(size) = size {
        let stream = body.write().expect("it is asked for once");
        for start in (0..size).step_by(4096) {
            // A server that refuses a body answers before it is there.
            if stream.blocking_write_and_flush(&[b'x'; 4096][..(size - start).min(4096)]).is_err() {
                break;
            }
        }
    }
    OutgoingBody::finish(body, None)?;
    let waits = answer.subscribe();
    loop {
        match answer.get() {
            Some(answer) => return answer.expect("it is asked for once"),
            None => waits.block(),
        }
    }
}

fn read(response: IncomingResponse) -> Result<String, ErrorCode> {
    let status = response.status();
    let body = response.consume().expect("it is asked for once");
    let stream = body.stream().expect("it is asked for once");
    let mut bytes = Vec::new();
    let end = loop {
        match stream.blocking_read(64 << 10) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => break Ok(()),
            Err(StreamError::LastOperationFailed(error)) => {
                let words = || ErrorCode::InternalError(Some(error.to_debug_string()));
                break Err(http_error_code(&error).unwrap_or_else(words));
            }
        }
    };
    drop(stream);
    IncomingBody::finish(body);
    end?;
    Ok(format!("{status} {}", String::from_utf8_lossy(&bytes)))
}

fn header(response: &IncomingResponse, name: &str) -> String {
    let values = response.headers().get(name);
    let value = values.first().map(|value| String::from_utf8_lossy(value).into_owned());
    format!("{} {}", response.status(), value.unwrap_or_default())
}
