//! Decimals, exact in both directions: a number of digits beside the place of its point.

use super::{Misfit, json::Json};
use num_bigint::BigInt;

/// A number of JSON that is not whole is a double by the time it is seen: so many digits of it are what was written.
const DIGITS_OF_DOUBLE: usize = 15;

/// The most digits that a decimal may have. A number that is much longer takes its time to be written.
pub(super) const MOST_DIGITS: usize = 10_000;

/// `12.30`, with all digits that the scale has.
pub(super) fn text(unscaled: &[u8], precision: usize, scale: usize) -> Result<String, Misfit> {
    let too_many = || Misfit::new(format!("it has more than {precision} digits"));
    // What is far too long is not made digits of. One takes less than five twelfths of a byte; bytes that say nothing but
    // the sign may be any number.
    let most = precision * 5 / 12 + 1;
    let sign = unscaled.first().map_or(0, |first| if *first < 0x80 { 0 } else { 0xff });
    if unscaled.iter().skip_while(|byte| **byte == sign).count() > most {
        return Err(too_many());
    }
    let number = BigInt::from_signed_bytes_be(unscaled);
    let digits = number.magnitude().to_string();
    if digits.len() > precision {
        return Err(too_many());
    }
    let sign = if number.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    if scale == 0 {
        return Ok(format!("{sign}{digits}"));
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    Ok(format!("{sign}{whole}.{rest}"))
}

/// The unscaled number of what is written as text, or as a number.
pub(super) fn unscaled(json: &Json<'_>, precision: usize, scale: usize) -> Result<BigInt, Misfit> {
    let written = match json {
        Json::Text(text) => text.to_string(),
        Json::Whole(number) => number.to_string(),
        Json::Float(number) => {
            let written = number.to_string();
            let digits = written.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
            if digits > DIGITS_OF_DOUBLE {
                return Err(Misfit::new(format!("{json} may not be exact any more: write this decimal as text")));
            }
            written
        }
        other => return Err(Misfit::new(format!("{other} is no decimal"))),
    };
    let no_decimal = || Misfit::new(format!("{json} is no decimal: write one such as \"12.30\""));
    let (negative, digits) = match written.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, written.as_str()),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(rest) {
        return Err(no_decimal());
    }
    let rest = rest.trim_end_matches('0');
    if rest.len() > scale {
        let digits = if scale == 1 { "digit" } else { "digits" };
        return Err(Misfit::new(format!("{json} has more than {scale} {digits} behind the point")));
    }
    let all = format!("{whole}{rest:0<scale$}");
    let all = all.trim_start_matches('0');
    if all.len() > precision {
        return Err(Misfit::new(format!("{json} has more than {precision} digits")));
    }
    let number = BigInt::parse_bytes(if all.is_empty() { b"0" } else { all.as_bytes() }, 10).ok_or_else(no_decimal)?;
    Ok(if negative { -number } else { number })
}

/// Its bytes: as few as there may be, or as many as a fixed size has.
pub(super) fn bytes(number: &BigInt, size: Option<usize>) -> Result<Vec<u8>, Misfit> {
    let bytes = number.to_signed_bytes_be();
    let Some(size) = size else { return Ok(bytes) };
    if bytes.len() > size {
        return Err(Misfit::new(format!("it has no room in {size} bytes")));
    }
    let fill = if number.sign() == num_bigint::Sign::Minus { 0xff } else { 0 };
    let mut all = vec![fill; size - bytes.len()];
    all.extend_from_slice(&bytes);
    Ok(all)
}
