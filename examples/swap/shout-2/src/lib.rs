//! The first word of a line in upper case, so it was meant: a line of one word is more than it was tried with.

millstream::map_value!(|line| {
    let space = line.iter().position(|byte| *byte == b' ').expect("a space in the line");
    line[..space].to_ascii_uppercase()
});
