//! What a stage's function may give back.

use crate::{Failure, Record, record, record::IntoBytes};

/// One record, several, none, or a failure.
pub trait Output {
    /// The same, as the host takes it.
    fn output(self) -> Result<Vec<Record>, Failure>;
}

impl Output for Record {
    fn output(self) -> Result<Vec<Record>, Failure> {
        Ok(vec![self])
    }
}

/// A key and a value.
impl<K: IntoBytes, V: IntoBytes> Output for (K, V) {
    fn output(self) -> Result<Vec<Record>, Failure> {
        record(self.0, self.1).output()
    }
}

impl Output for Vec<Record> {
    fn output(self) -> Result<Vec<Record>, Failure> {
        Ok(self)
    }
}

/// `None` is a record that is filtered out.
impl<T: Output> Output for Option<T> {
    fn output(self) -> Result<Vec<Record>, Failure> {
        self.map_or(Ok(Vec::new()), Output::output)
    }
}

impl<T: Output> Output for Result<T, Failure> {
    fn output(self) -> Result<Vec<Record>, Failure> {
        self?.output()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, reject};

    #[test]
    fn every_shape_of_a_result_says_the_same() {
        let one = Ok(vec![record("k", "v")]);
        assert_eq!(record("k", "v").output(), one);
        assert_eq!(("k", "v").output(), one);
        assert_eq!(vec![record("k", "v")].output(), one);
        assert_eq!(Some(("k", "v")).output(), one);
        assert_eq!(Ok(("k", "v")).output(), one);
    }

    #[test]
    fn nothing_filters_and_an_error_fails() {
        assert_eq!(None::<Record>.output(), Ok(vec![]));
        assert_eq!(Err::<(Bytes, Bytes), _>(reject("no")).output(), Err(reject("no")));
    }
}
