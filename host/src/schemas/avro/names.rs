//! Names as they are found. Avro's rules know of letters, digits and underscores alone, and many schemas that other
//! libraries wrote, with a namespace such as `my-shop`, do not keep to them.

use apache_avro::{
    AvroResult,
    error::Details,
    validator::{
        EnumSymbolNameValidator, RecordFieldNameValidator, SchemaNameValidator, SchemaNamespaceValidator,
        set_enum_symbol_name_validator, set_record_field_name_validator, set_schema_name_validator,
        set_schema_namespace_validator,
    },
};
use std::sync::Once;

/// Has the library take any name that is not empty. It only asks before its first schema is read.
pub(super) fn take_any() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let is_set = set_schema_name_validator(Box::new(Any)).is_ok()
            && set_schema_namespace_validator(Box::new(Any)).is_ok()
            && set_enum_symbol_name_validator(Box::new(Any)).is_ok()
            && set_record_field_name_validator(Box::new(Any)).is_ok();
        debug_assert!(is_set, "nobody else reads schemas");
    });
}

struct Any;

impl SchemaNameValidator for Any {
    /// Where the name starts behind its namespace.
    fn validate(&self, name: &str) -> AvroResult<usize> {
        let start = name.rfind('.').map_or(0, |dot| dot + 1);
        match start == name.len() {
            true => Err(Details::InvalidSchemaName(name.to_owned(), ".+").into()),
            false => Ok(start),
        }
    }
}

impl SchemaNamespaceValidator for Any {
    fn validate(&self, _: &str) -> AvroResult<()> {
        Ok(())
    }
}

impl EnumSymbolNameValidator for Any {
    fn validate(&self, symbol: &str) -> AvroResult<()> {
        match symbol.is_empty() {
            true => Err(Details::EnumSymbolName(symbol.to_owned()).into()),
            false => Ok(()),
        }
    }
}

impl RecordFieldNameValidator for Any {
    fn validate(&self, name: &str) -> AvroResult<()> {
        match name.is_empty() {
            true => Err(Details::FieldName(name.to_owned()).into()),
            false => Ok(()),
        }
    }
}
