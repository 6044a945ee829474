//! What the stored numbers of a Parquet column mean: instants, days, times of day, decimals, half precision.

use std::path::Path;

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use ::parquet::data_type::Int96;
use ::parquet::file::metadata::FileMetaData;
use ::parquet::schema::types::ColumnDescriptor;

use crate::Result;
use crate::arrays::npy::half;
use crate::error::Origin;

/// A value as it is taken.
pub(super) enum Value<'v> {
    Whole(i128),
    Truth(bool),
    Real(f64),
    Bytes(&'v [u8]),
}

/// What the numbers of a column are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Themselves.
    Plain,
    /// Whole numbers without a sign.
    Unsigned,
    /// So many parts of a second: since the beginning of 1970 in UTC, or since midnight, or of a duration. Taken as seconds.
    Parts(i64),
    /// Days since the beginning of 1970.
    Days,
    /// Whole numbers of which ten to this power make one.
    Decimal(u32),
    /// IEEE 754 half precision in two bytes.
    Half,
}

/// More digits behind the point than any number in double precision tells apart.
const MOST_SCALE: i32 = 300;

impl Meaning {
    /// That of a column of a file with this metadata.
    ///
    /// # Errors
    /// If it is something else than numbers, truth values or words.
    pub fn of(path: &Path, file: &FileMetaData, column: &ColumnDescriptor) -> Result<Self> {
        use ConvertedType as Old;
        let parts = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => Meaning::Parts(1_000),
            TimeUnit::MICROS => Meaning::Parts(1_000_000),
            TimeUnit::NANOS => Meaning::Parts(1_000_000_000),
        };
        let refuse = |found: String| {
            let item = format!("column {}", column.path().string());
            let expected =
                "numbers, truth values, words, times or decimals; leave it out, or write it as such";
            Err(Origin(path).format(0, item, found, expected))
        };
        let decimal = |scale: i32| match u32::try_from(scale) {
            Ok(digits) if scale <= MOST_SCALE => Ok(Meaning::Decimal(digits)),
            _ => refuse(format!("decimals of scale {scale}")),
        };
        match (column.logical_type_ref(), column.converted_type()) {
            (Some(LogicalType::Timestamp(t) | LogicalType::Time(t)), _) => return Ok(parts(&t.unit)),
            (Some(LogicalType::Date), _) | (_, Old::DATE) => return Ok(Meaning::Days),
            (Some(LogicalType::Decimal(d)), _) => return decimal(d.scale),
            (_, Old::DECIMAL) => return decimal(column.type_scale()),
            (Some(LogicalType::Float16), _) => return Ok(Meaning::Half),
            (_, Old::TIMESTAMP_MILLIS | Old::TIME_MILLIS) => return Ok(Meaning::Parts(1_000)),
            (_, Old::TIMESTAMP_MICROS | Old::TIME_MICROS) => return Ok(Meaning::Parts(1_000_000)),
            (Some(LogicalType::Integer(i)), _) if !i.is_signed => return Ok(Meaning::Unsigned),
            (_, Old::UINT_8 | Old::UINT_16 | Old::UINT_32 | Old::UINT_64) => return Ok(Meaning::Unsigned),
            _ => {}
        }
        match column.physical_type() {
            // Of Hive and older Spark: nanoseconds and a Julian day.
            Type::INT96 => Ok(Meaning::Parts(1_000_000_000)),
            Type::FIXED_LEN_BYTE_ARRAY => {
                let what = column.logical_type_ref().map_or_else(
                    || format!("bytes of a fixed length ({})", column.converted_type()),
                    |t| format!("{t:?}"),
                );
                refuse(format!("of another type: {what}"))
            }
            Type::INT64 => Ok(duration(file, column).unwrap_or(Meaning::Plain)),
            _ => Ok(Meaning::Plain),
        }
    }

    /// A stored whole number.
    pub fn whole(self, v: i64) -> Value<'static> {
        match self {
            Meaning::Parts(per) => Value::Real(seconds(v.div_euclid(per), v.rem_euclid(per), per)),
            Meaning::Decimal(digits) => decimal(i128::from(v), digits),
            Meaning::Plain | Meaning::Unsigned | Meaning::Days | Meaning::Half => Value::Whole(v.into()),
        }
    }

    /// An instant of the older form.
    pub fn old_instant(v: &Int96) -> Value<'static> {
        // The library's own count of nanoseconds wraps around in 2262.
        let &[low, high, day] = v.data() else { return Value::Real(f64::NAN) };
        let nanos = i64::from(high) << 32 | i64::from(low);
        let whole = (i64::from(day) - JULIAN_DAY_OF_1970) * 86_400 + nanos / 1_000_000_000;
        Value::Real(seconds(whole, nanos % 1_000_000_000, 1_000_000_000))
    }

    /// Stored bytes, or `None` if they are longer or shorter than what they stand for.
    pub fn bytes(self, v: &[u8]) -> Option<Value<'_>> {
        match self {
            Meaning::Decimal(digits) => big_endian(v).map(|whole| decimal(whole, digits)),
            Meaning::Half => v.try_into().ok().map(|bytes| Value::Real(half(bytes).into())),
            _ => Some(Value::Bytes(v)),
        }
    }
}

const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// Whole seconds before parts of one: a count of nanoseconds has more digits than a number in double precision.
fn seconds(whole: i64, rest: i64, per: i64) -> f64 {
    whole as f64 + rest as f64 / per as f64
}

/// Correctly rounded for numbers of up to 15 digits and scales of up to 22, as both are exact in double precision.
fn decimal(v: i128, digits: u32) -> Value<'static> {
    Value::Real(v as f64 / 10f64.powi(digits.min(MOST_SCALE as u32) as i32))
}

/// A whole number of at most 16 bytes, with its sign in the first.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    let mut all = if first >= 128 { [255; 16] } else { [0; 16] };
    let start = 16usize.checked_sub(bytes.len())?;
    all[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

/// The unit of a duration, for which Parquet has no type, where pandas wrote it into its notes.
fn duration(file: &FileMetaData, column: &ColumnDescriptor) -> Option<Meaning> {
    let notes = file.key_value_metadata()?.iter().find(|pair| pair.key == "pandas")?.value.as_ref()?;
    let notes: serde_json::Value = serde_json::from_str(notes).ok()?;
    let name = column.path().string();
    let of =
        |c: &&serde_json::Value| ["field_name", "name"].iter().any(|key| c[*key].as_str() == Some(&name));
    let kind = notes["columns"].as_array()?.iter().find(of)?["numpy_type"].as_str()?;
    match kind {
        "timedelta64[s]" => Some(Meaning::Parts(1)),
        "timedelta64[ms]" => Some(Meaning::Parts(1_000)),
        "timedelta64[us]" => Some(Meaning::Parts(1_000_000)),
        "timedelta64[ns]" => Some(Meaning::Parts(1_000_000_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn real(v: Value<'_>) -> f64 {
        match v {
            Value::Real(v) => v,
            _ => f64::NAN,
        }
    }

    #[test]
    fn parts_of_a_second_before_and_after_1970_keep_their_digits() {
        let nanos = Meaning::Parts(1_000_000_000);
        assert_eq!(real(nanos.whole(1_700_000_000_250_000_000)), 1_700_000_000.25);
        assert_eq!(real(nanos.whole(-250_000_000)), -0.25);
        assert_eq!(real(Meaning::Parts(1_000).whole(1_500)), 1.5);
        let mut old = Int96::new();
        // Half past six on the second of January 1970.
        let nanos = (6 * 3600 + 1800) * 1_000_000_000u64;
        old.set_data(nanos as u32, (nanos >> 32) as u32, 2_440_589);
        assert_eq!(real(Meaning::old_instant(&old)), 86_400.0 + 23_400.0);
    }

    #[test]
    fn decimals_of_any_storage_have_their_scale_and_sign() {
        let cents = Meaning::Decimal(2);
        assert_eq!(real(cents.whole(-125)), -1.25);
        assert_eq!(real(cents.bytes(&[255, 131]).unwrap()), -1.25);
        assert_eq!(real(cents.bytes(&[0, 125]).unwrap()), 1.25);
        assert!(cents.bytes(&[]).is_none() && cents.bytes(&[0; 17]).is_none());
        assert!(Meaning::Half.bytes(&[0; 3]).is_none());
    }
}
