//! The adapter that makes components of core modules whose tools speak WASI's first version, as Go's and C's do.
//!
//! It is the one that belongs to wasmtime, with clocks that stand still on request. A component may call nothing while
//! values are handed to it, and Go's collector, which may just then come to its end, looks at both clocks; the adapter
//! as it is can stop only one. So `adapter_monotonic_clock_set_paused` stops both: they say what they said last. The
//! change is made on the binary, section by section: to print it as text and to read that again would need two crates
//! more.

use std::{convert::Infallible, sync::LazyLock};
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as STOCK;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    MemArg, Module, ValType,
    reencode::{self, Reencode},
};
use wasmparser::{
    BinaryReaderError, CodeSectionReader, Export, ExternalKind, FunctionSectionReader, GlobalSectionReader, Parser,
    Payload, TypeRef,
};

/// The adapter's name for a reading of either clock.
const READ: &str = "clock_time_get";
/// Its name for stopping the clock; here it stops both.
const STOP: &str = "adapter_monotonic_clock_set_paused";

/// The adapter, with clocks that can be stopped.
pub(super) fn adapter() -> &'static [u8] {
    static ADAPTER: LazyLock<Vec<u8>> = LazyLock::new(|| changed(STOCK).expect("a test changes the same adapter"));
    &ADAPTER
}

fn changed(stock: &[u8]) -> Result<Vec<u8>, reencode::Error> {
    let mut change = Change::plan(stock)?;
    let mut module = Module::new();
    change.parse_core_module(&mut module, Parser::new(0), stock)?;
    Ok(module.finish())
}

/// Where in the adapter the change is made.
#[derive(Debug, Default)]
struct Change {
    functions: u32,
    globals: u32,
    read: Place,
    stop: Place,
}

/// A function, and its type.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    function: u32,
    r#type: u32,
}

impl Change {
    fn plan(stock: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut change = Self::default();
        let mut types = Vec::new();
        for payload in Parser::new(0).parse_all(stock) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(index) => types.push(index),
                            TypeRef::Global(_) => change.globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        types.push(index?);
                    }
                }
                Payload::GlobalSection(section) => change.globals += section.count(),
                Payload::ExportSection(section) => {
                    for export in section {
                        let Export { name, kind: ExternalKind::Func, index } = export? else { continue };
                        let place = Place { function: index, r#type: types[index as usize] };
                        match name {
                            READ => change.read = place,
                            STOP => change.stop = place,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        change.functions = types.len() as u32;
        Ok(change)
    }

    /// Both clocks stand still while it is not zero.
    fn stopped(&self) -> u32 {
        self.globals
    }

    /// What the clock on the wall said last.
    fn wall(&self) -> u32 {
        self.globals + 1
    }

    /// What the monotonic clock said last.
    fn monotonic(&self) -> u32 {
        self.globals + 2
    }

    /// `clock_time_get(clock, precision, out) -> errno`
    fn read(&self) -> Function {
        let (clock, precision, out, errno) = (0, 1, 2, 3);
        let time = MemArg { offset: 0, align: 3, memory_index: 0 };
        let mut body = Function::new([(1, ValType::I32)]);
        body.instructions()
            .global_get(self.stopped())
            .if_(BlockType::Empty)
            .local_get(out)
            .global_get(self.monotonic())
            .global_get(self.wall())
            .local_get(clock)
            .select()
            .i64_store(time)
            .i32_const(0)
            .return_()
            .end()
            .local_get(clock)
            .local_get(precision)
            .local_get(out)
            .call(self.read.function)
            .local_tee(errno)
            .i32_eqz()
            .if_(BlockType::Empty)
            .local_get(clock)
            .if_(BlockType::Empty)
            .local_get(out)
            .i64_load(time)
            .global_set(self.monotonic())
            .else_()
            .local_get(out)
            .i64_load(time)
            .global_set(self.wall())
            .end()
            .end()
            .local_get(errno)
            .end();
        body
    }

    /// `adapter_monotonic_clock_set_paused(stop)`
    fn stop(&self) -> Function {
        let mut body = Function::new([]);
        body.instructions().local_get(0).global_set(self.stopped()).end();
        body
    }
}

/// What is not named here stays as it is; what is new stands behind what was there, so that no number changes.
impl Reencode for Change {
    type Error = Infallible;

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_function_section(self, functions, section)?;
        functions.function(self.read.r#type).function(self.stop.r#type);
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: GlobalSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_global_section(self, globals, section)?;
        let global = |val_type| GlobalType { val_type, mutable: true, shared: false };
        globals.global(global(ValType::I32), &ConstExpr::i32_const(0));
        globals.global(global(ValType::I64), &ConstExpr::i64_const(0));
        globals.global(global(ValType::I64), &ConstExpr::i64_const(0));
        Ok(())
    }

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Result<(), reencode::Error> {
        match export.name {
            READ => exports.export(READ, ExportKind::Func, self.functions),
            STOP => exports.export(STOP, ExportKind::Func, self.functions + 1),
            _ => return reencode::utils::parse_export(self, exports, export),
        };
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_code_section(self, code, section)?;
        code.function(&self.read()).function(&self.stop());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_adapter_has_the_functions_that_are_changed() {
        let change = Change::plan(STOCK).unwrap();
        assert!(change.read.function > 0 && change.stop.function > 0, "{change:?}");
        let exports = |bytes: &[u8]| {
            let sections = Parser::new(0).parse_all(bytes).filter_map(|payload| match payload.unwrap() {
                Payload::ExportSection(section) => Some(section),
                _ => None,
            });
            sections.flatten().map(|export| export.unwrap().name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(exports(adapter()), exports(STOCK));
        wasmparser::Validator::new().validate_all(adapter()).unwrap();
    }
}
