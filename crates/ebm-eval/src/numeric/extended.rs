//! Infinities in JSON, which has numbers only: written as words instead of `null`.

use serde::{Serialize, Serializer};

/// A number that may be infinite or NaN: serialised as a number, or as "inf", "-inf", "nan".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extended(pub f64);

impl Serialize for Extended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            v if v.is_finite() => serializer.serialize_f64(v),
            v if v.is_nan() => serializer.serialize_str("nan"),
            v => serializer.serialize_str(if v > 0.0 { "inf" } else { "-inf" }),
        }
    }
}

/// For `#[serde(serialize_with)]` of a number.
pub fn serialize_extended<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Extended(*value).serialize(serializer)
}

/// For `#[serde(serialize_with)]` of a pair of numbers that may be missing.
pub fn serialize_extended_option<S: Serializer>(
    pair: &Option<(f64, f64)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    pair.map(|(a, b)| (Extended(a), Extended(b))).serialize(serializer)
}

/// For `#[serde(serialize_with)]` of a pair of numbers, such as the ends of an interval.
pub fn serialize_extended_pair<S: Serializer>(pair: &(f64, f64), serializer: S) -> Result<S::Ok, S::Error> {
    (Extended(pair.0), Extended(pair.1)).serialize(serializer)
}
