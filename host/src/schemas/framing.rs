//! The frame that Confluent's serializers put around a value: a zero, and the id of its schema in four bytes.

use super::Misfit;

/// How many bytes stand before the value.
const FRAME: usize = 5;

/// The id of the schema that a value was written with, and the value.
pub(super) fn open(framed: &[u8]) -> Result<(u32, &[u8]), Misfit> {
    match framed.split_first_chunk::<FRAME>() {
        Some(([0, a, b, c, d], body)) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        _ => Err(Misfit::new("it does not begin with a zero and the id of a schema: it was written without one")),
    }
}

/// Puts a frame where the value is to be written.
pub(super) fn begin(id: u32, to: &mut Vec<u8>) {
    to.push(0);
    to.extend_from_slice(&id.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_four_bytes_the_largest_first() {
        let mut framed = Vec::new();
        begin(0x0102_0304, &mut framed);
        assert_eq!(framed, [0, 1, 2, 3, 4]);
        assert_eq!(open(&[0, 0, 0, 1, 0, 7]).unwrap(), (256, &[7][..]));
        for wrong in [&b""[..], b"\0\0\0\0", b"{\"a\":1}"] {
            assert!(open(wrong).is_err(), "{wrong:?}");
        }
    }
}
