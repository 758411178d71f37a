//! Modules as their authors and operators meet them.

mod answers;
