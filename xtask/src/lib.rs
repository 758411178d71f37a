//! What the project's own commands and tests share: a real Kafka, and the built guests.

pub mod guests;
pub mod kafka;
