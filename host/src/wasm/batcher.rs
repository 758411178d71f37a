//! Many records in one call of a guest: what a plain call costs, by far the most of it the way into a component and
//! back, is paid once for all of them.
//!
//! No guest knows of it. When a stage is loaded, a small module (`batcher.wat`) is put into its component, beside the
//! guest and linked to the functions that a plain call uses.

use crate::{
    record::{Failure, Header, HeaderEdit, Later, Reason, Record},
    transport::Incoming,
};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentImportSection, ComponentSection, ComponentSectionId, ComponentTypeRef,
    ComponentTypeSection, ComponentValType, ExportKind, InstanceSection, ModuleArg, PrimitiveValType, RawSection,
};
use wasmparser::{
    CanonicalFunction, CanonicalOption as Lifted, ComponentExternalKind, ComponentInstance, Encoding, Parser, Payload,
    Validator, WasmFeatures, types::TypesRef,
};

/// What the component exports for calls with many records. No guest's own export has such a name.
pub(super) const TRANSFORM: &str = "millstream-transform-all";
/// What it imports for them: `next(index) -> u32` says which record is next, and hears how many to go on with before it
/// asks again; none is the end.
pub(super) const NEXT: &str = "millstream-next";

/// Its memory, which no guest has any part of.
pub(super) const MEMORY: u64 = 21 << 16;
/// The most that goes in and comes out.
const IN_BYTES: usize = 0x4fff0;
pub(super) const OUT_BYTES: usize = 1 << 20;

/// The module itself.
pub(super) static MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/batcher.wasm"));

/// The component of a stage with the batcher in it. `None` when it is not built as the tools for components build it:
/// then there are plain calls alone.
pub(super) fn put_into(component: &[u8]) -> Option<Vec<u8>> {
    let Survey { transform, memory, realloc, post_return, counts } = survey(component)?;
    let mut bytes = component.to_vec();

    let (next_type, list, transform_type) = (counts.types, counts.types + 1, counts.types + 2);
    let mut types = ComponentTypeSection::new();
    types.function().params([("index", PrimitiveValType::U32)]).result(Some(PrimitiveValType::U32.into()));
    types.defined_type().list(PrimitiveValType::U8);
    let list = ComponentValType::Type(list);
    types.function().params([("records", list)]).result(Some(list));
    types.append_to_component(&mut bytes);

    let mut imports = ComponentImportSection::new();
    imports.import(NEXT, ComponentTypeRef::Func(next_type));
    imports.append_to_component(&mut bytes);
    let mut lower = CanonicalFunctionSection::new();
    lower.lower(counts.functions, []);
    let next = counts.core_functions;
    lower.append_to_component(&mut bytes);

    RawSection { id: ComponentSectionId::CoreModule.into(), data: MODULE }.append_to_component(&mut bytes);
    let (guest, host, batcher) = (counts.core_instances, counts.core_instances + 1, counts.core_instances + 2);
    let mut instances = InstanceSection::new();
    instances.export_items([
        ("memory", ExportKind::Memory, memory),
        ("realloc", ExportKind::Func, realloc),
        ("transform", ExportKind::Func, transform),
        ("post-return", ExportKind::Func, post_return),
    ]);
    instances.export_items([("next", ExportKind::Func, next)]);
    let args = [("guest", ModuleArg::Instance(guest)), ("host", ModuleArg::Instance(host))];
    instances.instantiate(counts.modules, args);
    instances.append_to_component(&mut bytes);

    let mut aliases = ComponentAliasSection::new();
    for (kind, name) in [(ExportKind::Memory, "memory"), (ExportKind::Func, "realloc"), (ExportKind::Func, "transform")]
    {
        aliases.alias(Alias::CoreInstanceExport { instance: batcher, kind, name });
    }
    aliases.append_to_component(&mut bytes);
    let (memory, realloc, transform) = (counts.memories, next + 1, next + 2);
    let mut lift = CanonicalFunctionSection::new();
    lift.lift(transform, transform_type, [CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)]);
    lift.append_to_component(&mut bytes);
    let mut exports = ComponentExportSection::new();
    exports.export(TRANSFORM, ComponentExportKind::Func, counts.functions + 1, None);
    exports.append_to_component(&mut bytes);
    Some(bytes)
}

/// What the batcher is linked to, and how many of everything there are: who comes next has the next number.
struct Survey {
    transform: u32,
    memory: u32,
    realloc: u32,
    post_return: u32,
    counts: Counts,
}

struct Counts {
    types: u32,
    functions: u32,
    modules: u32,
    core_instances: u32,
    core_functions: u32,
    memories: u32,
}

impl Counts {
    fn of(types: TypesRef<'_>) -> Self {
        Self {
            types: types.component_type_count(),
            functions: types.component_function_count(),
            modules: types.module_count(),
            core_instances: types.core_instance_count(),
            core_functions: types.function_count(),
            memories: types.memory_count(),
        }
    }
}

/// Reads how the guest's `transform` is lifted: from the exported interface back to the instance that it is made of, and
/// from there to its one function.
fn survey(component: &[u8]) -> Option<Survey> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut lifts, mut instances, mut exported) = (Vec::new(), Vec::new(), None);
    let (mut depth, mut counts) = (0, None);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        match &payload {
            Payload::Version { encoding, .. } => {
                if depth == 0 && *encoding != Encoding::Component {
                    return None;
                }
                depth += 1;
            }
            Payload::End(_) => {
                depth -= 1;
                if depth == 0 {
                    counts = Some(Counts::of(validator.types(0)?));
                }
            }
            _ if depth > 1 => {}
            Payload::ComponentCanonicalSection(section) => {
                let mut index = validator.types(0)?.component_function_count();
                for function in section.clone() {
                    if let CanonicalFunction::Lift { core_func_index, options, .. } = function.ok()? {
                        lifts.push((index, core_func_index, options));
                        index += 1;
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                let first = validator.types(0)?.component_instance_count();
                for (index, instance) in (first..).zip(section.clone()) {
                    instances.push((index, functions(&instance.ok()?)));
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.ok()?;
                    if export.kind == ComponentExternalKind::Instance
                        && export.name.name.starts_with("millstream:stage/transformer@")
                    {
                        exported = Some(export.index);
                    }
                }
            }
            _ => {}
        }
        validator.payload(&payload).ok()?;
    }
    let (_, functions) = instances.iter().find(|(index, _)| Some(*index) == exported)?;
    let &[function] = functions.as_slice() else { return None };
    let (_, transform, options) = lifts.iter().find(|(index, ..)| *index == function)?;
    let (mut memory, mut realloc, mut post_return) = (None, None, None);
    for option in options {
        match *option {
            Lifted::UTF8 => {}
            Lifted::Memory(index) => memory = Some(index),
            Lifted::Realloc(index) => realloc = Some(index),
            Lifted::PostReturn(index) => post_return = Some(index),
            _ => return None,
        }
    }
    let (memory, realloc, post_return) = (memory?, realloc?, post_return?);
    Some(Survey { transform: *transform, memory, realloc, post_return, counts: counts? })
}

/// The functions that an instance is made of.
fn functions(instance: &ComponentInstance<'_>) -> Vec<u32> {
    let is_function = |kind: ComponentExternalKind| kind == ComponentExternalKind::Func;
    match instance {
        ComponentInstance::Instantiate { args, .. } => {
            args.iter().filter(|arg| is_function(arg.kind)).map(|arg| arg.index).collect()
        }
        ComponentInstance::FromExports(exports) => {
            exports.iter().filter(|export| is_function(export.kind)).map(|export| export.index).collect()
        }
    }
}

/// Records on their way in.
#[derive(Default)]
pub(super) struct Questions(Vec<u8>);

impl Questions {
    /// Adds a record if there is room for it.
    pub(super) fn push(&mut self, record: Incoming<'_>) -> bool {
        let sizes = [record.key, record.value].map(|bytes| bytes.map_or(0, <[u8]>::len));
        if self.0.len() + 8 + sizes.iter().sum::<usize>() > IN_BYTES {
            return false;
        }
        for (bytes, size) in [record.key, record.value].iter().zip(sizes) {
            let size = if bytes.is_some() { size as i32 } else { -1 };
            self.0.extend_from_slice(&size.to_le_bytes());
        }
        for bytes in [record.key, record.value].into_iter().flatten() {
            self.0.extend_from_slice(bytes);
        }
        true
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What came of records, one after the other.
#[derive(Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    at: usize,
}

/// An answer that found no room, or breaks the rules: a plain call has the words for what is wrong.
pub(super) struct Unusable;

impl Answers {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// The answer to the next record, if there is one.
    pub(super) fn next(&mut self) -> Option<Result<Result<Vec<Record>, Failure>, Unusable>> {
        if self.at == self.bytes.len() {
            return None;
        }
        let mut reader = Reader(&self.bytes[self.at..]);
        let answer = reader.answer();
        self.at = self.bytes.len() - reader.0.len();
        Some(answer)
    }
}

/// Reads answers as the guest's memory has them: see `batcher.wat`.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn answer(&mut self) -> Result<Result<Vec<Record>, Failure>, Unusable> {
        match self.number()? {
            0 => self.records().map(Ok),
            1 => self.failure().map(Err),
            _ => Err(Unusable),
        }
    }

    fn records(&mut self) -> Result<Vec<Record>, Unusable> {
        let count = self.number()?;
        let mut records = Vec::with_capacity((count as usize).min(self.0.len() / 72));
        for _ in 0..count {
            records.push(self.record()?);
        }
        Ok(records)
    }

    fn record(&mut self) -> Result<Record, Unusable> {
        let raw: [u8; 72] = self.raw()?;
        Ok(Record {
            key: self.option(&raw, 0)?.map(<[u8]>::to_vec),
            value: self.option(&raw, 12)?.map(<[u8]>::to_vec),
            headers: match raw[24] {
                0 => HeaderEdit::Keep,
                1 => HeaderEdit::Add(self.headers(u32_at(&raw, 32))?),
                2 => HeaderEdit::Replace(self.headers(u32_at(&raw, 32))?),
                _ => return Err(Unusable),
            },
            output: self.option(&raw, 36)?.map(text).transpose()?,
            partition: some(&raw, 48)?.then(|| u32_at(&raw, 52)),
            timestamp: some(&raw, 56)?.then(|| u64_at(&raw, 64).cast_signed()),
        })
    }

    fn headers(&mut self, count: u32) -> Result<Vec<Header>, Unusable> {
        let mut headers = Vec::with_capacity((count as usize).min(self.0.len() / 20));
        for _ in 0..count {
            let raw: [u8; 20] = self.raw()?;
            let name = text(self.take(u32_at(&raw, 4))?)?;
            headers.push(Header { name, value: self.option(&raw, 8)?.map(<[u8]>::to_vec) });
        }
        Ok(headers)
    }

    fn failure(&mut self) -> Result<Failure, Unusable> {
        let raw: [u8; 48] = self.raw()?;
        let code = self.option(&raw, 8)?.map(text).transpose()?;
        let reason = Reason { code, message: text(self.take(u32_at(&raw, 24))?)? };
        Ok(match raw[0] {
            0 => Failure::Reject(reason),
            1 => Failure::Retry(Later { reason, after_ms: some(&raw, 32)?.then(|| u64_at(&raw, 40)) }),
            2 => Failure::Fault(reason),
            _ => return Err(Unusable),
        })
    }

    /// The bytes of an option that stands at this place, if it is there.
    fn option(&mut self, raw: &[u8], at: usize) -> Result<Option<&'a [u8]>, Unusable> {
        some(raw, at)?.then(|| self.take(u32_at(raw, at + 8))).transpose()
    }

    fn number(&mut self) -> Result<u32, Unusable> {
        self.raw().map(u32::from_le_bytes)
    }

    fn raw<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let (raw, rest) = self.0.split_first_chunk().ok_or(Unusable)?;
        self.0 = rest;
        Ok(*raw)
    }

    fn take(&mut self, size: u32) -> Result<&'a [u8], Unusable> {
        let (bytes, rest) = self.0.split_at_checked(size as usize).ok_or(Unusable)?;
        self.0 = rest;
        Ok(bytes)
    }
}

fn some(raw: &[u8], at: usize) -> Result<bool, Unusable> {
    match raw[at] {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Unusable),
    }
}

fn text(bytes: &[u8]) -> Result<String, Unusable> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unusable)
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    u64::from(u32_at(raw, at)) | u64::from(u32_at(raw, at + 4)) << 32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::damage;
    use fastrand::Rng;

    /// An answer as a guest's memory has it, and what it says; the numbers that point into that memory are any.
    #[derive(Default)]
    struct Memory {
        bytes: Vec<u8>,
    }

    impl Memory {
        fn option(raw: &mut [u8], at: usize, bytes: Option<&[u8]>) {
            if let Some(bytes) = bytes {
                raw[at] = 1;
                raw[at + 8..at + 12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            }
        }

        fn records(&mut self, records: &[Record]) {
            self.bytes.extend_from_slice(&0_u32.to_le_bytes());
            self.bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
            records.iter().for_each(|record| self.record(record));
        }

        fn record(&mut self, record: &Record) {
            let (kind, headers) = match &record.headers {
                HeaderEdit::Keep => (0, &[][..]),
                HeaderEdit::Add(headers) => (1, &headers[..]),
                HeaderEdit::Replace(headers) => (2, &headers[..]),
            };
            let mut raw = [0; 72];
            Self::option(&mut raw, 0, record.key.as_deref());
            Self::option(&mut raw, 12, record.value.as_deref());
            raw[24] = kind;
            raw[32..36].copy_from_slice(&(headers.len() as u32).to_le_bytes());
            Self::option(&mut raw, 36, record.output.as_deref().map(str::as_bytes));
            if let Some(partition) = record.partition {
                raw[48] = 1;
                raw[52..56].copy_from_slice(&partition.to_le_bytes());
            }
            if let Some(timestamp) = record.timestamp {
                raw[56] = 1;
                raw[64..72].copy_from_slice(&timestamp.to_le_bytes());
            }
            self.bytes.extend_from_slice(&raw);
            [&record.key, &record.value].into_iter().flatten().for_each(|bytes| self.bytes.extend_from_slice(bytes));
            for Header { name, value } in headers {
                let mut raw = [0; 20];
                raw[4..8].copy_from_slice(&(name.len() as u32).to_le_bytes());
                Self::option(&mut raw, 8, value.as_deref());
                self.bytes.extend_from_slice(&raw);
                self.bytes.extend_from_slice(name.as_bytes());
                self.bytes.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            self.bytes.extend_from_slice(record.output.as_deref().unwrap_or_default().as_bytes());
        }

        fn rejects(&mut self, code: Option<&str>, message: &str) {
            self.bytes.extend_from_slice(&1_u32.to_le_bytes());
            let mut raw = [0; 48];
            Self::option(&mut raw, 8, code.map(str::as_bytes));
            raw[24..28].copy_from_slice(&(message.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(&raw);
            self.bytes.extend_from_slice(code.unwrap_or_default().as_bytes());
            self.bytes.extend_from_slice(message.as_bytes());
        }
    }

    fn text(random: &mut Rng) -> String {
        String::from_utf8_lossy(&damage::bytes(random, 12)).into_owned()
    }

    fn record(random: &mut Rng) -> Record {
        let headers: Vec<_> =
            (0..random.usize(0..3)).map(|_| Header { name: text(random), value: damage::maybe(random, 12) }).collect();
        Record {
            key: damage::maybe(random, 30),
            value: damage::maybe(random, 30),
            headers: match random.u8(0..3) {
                0 => HeaderEdit::Keep,
                1 => HeaderEdit::Add(headers),
                _ => HeaderEdit::Replace(headers),
            },
            output: random.bool().then(|| text(random)),
            partition: random.bool().then(|| random.u32(..)),
            timestamp: random.bool().then(|| random.i64(..)),
        }
    }

    /// Answers at random: as bytes, and in words.
    fn answers(random: &mut Rng) -> (Vec<u8>, Vec<String>) {
        let (mut memory, mut said) = (Memory::default(), Vec::new());
        for _ in 0..random.usize(1..5) {
            if random.u8(0..4) == 0 {
                let (code, message) = (random.bool().then(|| text(random)), text(random));
                memory.rejects(code.as_deref(), &message);
                said.push(show(&Err(Failure::Reject(Reason { code, message }))));
            } else {
                let records: Vec<_> = (0..random.usize(0..4)).map(|_| record(random)).collect();
                memory.records(&records);
                said.push(show(&Ok(records)));
            }
        }
        (memory.bytes, said)
    }

    fn show(answer: &Result<Vec<Record>, Failure>) -> String {
        format!("{answer:?}")
    }

    #[test]
    fn what_a_guest_answers_is_read_as_it_stands() {
        for mut random in damage::tries(5_000) {
            let (bytes, said) = answers(&mut random);
            let mut read = Answers::new(bytes);
            for expected in &said {
                assert_eq!(&show(&read.next().unwrap().unwrap_or_else(|Unusable| panic!("{expected}"))), expected);
            }
            assert!(read.next().is_none());
        }
    }

    /// A guest's memory holds what it likes.
    #[test]
    fn bytes_of_any_kind_are_an_answer_or_none() {
        let mut good = 0;
        for mut random in damage::tries(30_000) {
            let mut bytes = match random.u8(0..8) {
                0 => damage::bytes(&mut random, 300),
                _ => answers(&mut random).0,
            };
            damage::harm(&mut random, &mut bytes);
            let mut read = Answers::new(bytes.clone());
            // The first that is of no use is the last that is looked at.
            while let Some(Ok(answer)) = read.next() {
                good += 1;
                let Ok(records) = answer else { continue };
                assert!(records.capacity() <= bytes.len() / 72, "{} records", records.capacity());
                for record in records {
                    let (HeaderEdit::Add(headers) | HeaderEdit::Replace(headers)) = record.headers else { continue };
                    assert!(headers.capacity() <= bytes.len() / 20, "{} headers", headers.capacity());
                }
            }
            assert!(read.at <= bytes.len());
        }
        assert!(good > 5_000, "only {good} were answers");
    }
}
