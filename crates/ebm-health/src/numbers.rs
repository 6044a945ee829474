//! A list of numbers that goes through text to the same bits, in one line.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Written as the hexadecimal bits of each, 16 digits, one after the other: not a number stays one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers(pub Vec<f64>);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.iter().map(|v| format!("{:016x}", v.to_bits())).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let one = |at: usize| {
            let digits = text.get(at..at + 16).ok_or_else(|| D::Error::custom("is cut off"))?;
            u64::from_str_radix(digits, 16).map(f64::from_bits).map_err(D::Error::custom)
        };
        (0..text.len()).step_by(16).map(one).collect::<Result<_, _>>().map(Numbers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_come_back_to_the_bit_and_other_texts_are_refused() {
        let all = Numbers(vec![0.1, -0.0, f64::NAN, f64::INFINITY, 1e-320]);
        let text = serde_json::to_string(&all).unwrap();
        let back: Numbers = serde_json::from_str(&text).unwrap();
        let bits = |n: &Numbers| n.0.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&all), bits(&back));
        for wrong in ["\"3f\"", "\"zzzzzzzzzzzzzzzz\"", "\"€€€€€€\"", "1"] {
            assert!(serde_json::from_str::<Numbers>(wrong).is_err(), "{wrong}");
        }
    }
}
