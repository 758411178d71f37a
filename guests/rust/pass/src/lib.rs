//! What comes in goes out: what a record costs when its guest does nothing.

millstream::map_value!(|value| value);
