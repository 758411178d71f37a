//! Files that are no good.
