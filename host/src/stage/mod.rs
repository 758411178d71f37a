//! A record's fate.

pub mod guest;
