use millstream::{Bytes, Failure, Record, code, config, context, fault, info, record, reject, retry_after};

millstream::stage!(transform);
millstream::open!(open);

fn open() -> Result<(), String> {
    config::get("currency").map(drop).ok_or_else(|| "`currency` is not set".into())
}

fn transform(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    match value.as_deref() {
        Some(b"reject") => return Err(reject(code("asked", "no such order"))),
        Some(b"retry") => return Err(retry_after(250, "not yet")),
        Some(b"fault") => return Err(fault("my own mistake")),
        _ => {}
    }
    let origin = context::origin();
    info!("from {}", origin.topic);
    let all = config::all().len();
    let place = format!("{} {} {} {} {}", origin.input, origin.partition, origin.offset, origin.attempt, all);
    let audit = record("audit", place).to("audit").partition(1).at(5).header("kept", "no");
    let names = context::headers().into_iter().fold(record(key, value).replace_headers(), |record, header| {
        record.header(header.name, header.value.unwrap_or_default()).null_header("none")
    });
    Ok(vec![names, audit])
}
