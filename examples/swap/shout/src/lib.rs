//! A line in upper case.

millstream::map_value!(|value| value.to_ascii_uppercase());
