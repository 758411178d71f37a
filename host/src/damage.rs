//! Damage to bytes at random, for tests of what reads them: from a seed, so that what went wrong once goes wrong again.

use fastrand::Rng;

/// How often to try: so many times, or a hundred times that for a soak.
pub(crate) fn tries(few: usize) -> impl Iterator<Item = Rng> {
    let factor = if std::env::var_os("MILLSTREAM_SOAK").is_some() { 100 } else { 1 };
    (0..(few * factor) as u64).map(Rng::with_seed)
}

/// Bytes at random, fewer than so many.
pub(crate) fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let length = random.usize(0..most);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// These bytes, or none.
pub(crate) fn maybe(random: &mut Rng, most: usize) -> Option<Vec<u8>> {
    random.bool().then(|| bytes(random, most))
}

/// Harms bytes in a few places: some change, go, come twice, or become numbers that are large.
pub(crate) fn harm(random: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..random.usize(1..5) {
        let at = random.usize(0..=data.len());
        let end = (at + random.usize(0..16)).min(data.len());
        match random.u8(0..6) {
            0 if at < data.len() => data[at] ^= 1 << random.u8(0..8),
            1 if at < data.len() => data[at] = random.u8(..),
            2 => drop(data.drain(at..end)),
            3 => {
                let twice = data[at..end].to_vec();
                data.splice(at..at, twice);
            }
            4 => data[at..end].fill(0xff),
            _ => data.truncate(at.max(1)),
        }
    }
}
