//! The values of a NumPy array, in the type that the file stores.

use super::npy_header::Stored;

/// Values of an [`Npy`](super::npy::Npy) file in the type it stores; byte order is already the machine's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum NpyValues {
    /// Truth values, 0 or 1.
    Bool(Vec<u8>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    /// Also numbers of 16 bits, which are exact in 32.
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// `(N, P, C)` as `(N, C, P)`.
fn moved<T: Copy>(v: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let one = |image: &[T]| -> Vec<T> {
        (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
    };
    v.chunks_exact((pixels * channels).max(1)).flat_map(one).collect()
}

/// Applies the same expression to the vector of every type.
macro_rules! each {
    ($values:expr, $v:ident => $made:expr) => {
        match $values {
            NpyValues::Bool($v) => $made,
            NpyValues::U8($v) => $made,
            NpyValues::U16($v) => $made,
            NpyValues::U32($v) => $made,
            NpyValues::U64($v) => $made,
            NpyValues::I8($v) => $made,
            NpyValues::I16($v) => $made,
            NpyValues::I32($v) => $made,
            NpyValues::I64($v) => $made,
            NpyValues::F32($v) => $made,
            NpyValues::F64($v) => $made,
        }
    };
}

impl NpyValues {
    /// The numbers as f32; bytes and whole numbers keep their values, f64 is rounded.
    // The same cast for every type.
    #[allow(clippy::unnecessary_cast)]
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(v) => v,
            // No whole number or float of a file has another way to f32 than the nearest one.
            other => each!(other, v => v.into_iter().map(|x| x as f32).collect()),
        }
    }

    /// The numbers as f64; only whole numbers of 64 bits beyond 2⁵³ are rounded.
    // The same cast for every type.
    #[allow(clippy::unnecessary_cast)]
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F64(v) => v,
            other => each!(other, v => v.into_iter().map(|x| x as f64).collect()),
        }
    }

    /// Number `i` if it is a whole number of 64 bits.
    pub fn whole(&self, i: usize) -> Option<i64> {
        let exact = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
        match self {
            Self::F32(v) => exact(f64::from(*v.get(i)?)),
            Self::F64(v) => exact(*v.get(i)?),
            Self::U64(v) => i64::try_from(*v.get(i)?).ok(),
            Self::Bool(v) | Self::U8(v) => Some(i64::from(*v.get(i)?)),
            Self::U16(v) => Some(i64::from(*v.get(i)?)),
            Self::U32(v) => Some(i64::from(*v.get(i)?)),
            Self::I8(v) => Some(i64::from(*v.get(i)?)),
            Self::I16(v) => Some(i64::from(*v.get(i)?)),
            Self::I32(v) => Some(i64::from(*v.get(i)?)),
            Self::I64(v) => v.get(i).copied(),
        }
    }

    /// The class that value `i` is, `None` for a missing one: a number below 0 or not-a-number; what is neither is an error
    /// that shows the value.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn class(&self, i: usize) -> Result<Option<u32>, String> {
        let number = each!(self, v => v.get(i).map_or(f64::NAN, |x| *x as f64));
        match self.whole(i) {
            Some(x) if x < 0 => Ok(None),
            Some(x) => u32::try_from(x).map(Some).map_err(|_| x.to_string()),
            None if number.is_nan() => Ok(None),
            None => Err(self.shown(i)),
        }
    }

    /// Value `i` as text.
    pub(super) fn shown(&self, i: usize) -> String {
        each!(self, v => v.get(i).map_or_else(String::new, |x| x.to_string()))
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Smallest and largest value, `None` if there is none or one is not a number.
    #[allow(clippy::unnecessary_cast)]
    pub fn range(&self) -> Option<(f64, f64)> {
        each!(self, v => {
            let mut range: Option<(f64, f64)> = None;
            for x in v.iter().map(|x| *x as f64) {
                if x.is_nan() {
                    return None;
                }
                let (low, high) = range.unwrap_or((x, x));
                range = Some((low.min(x), high.max(x)));
            }
            range
        })
    }

    /// Appends the values in little-endian order.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        each!(self, v => out.extend(v.iter().flat_map(|x| x.to_le_bytes())));
    }

    pub(super) fn channels_first(&self, pixels: usize, channels: usize) -> Self {
        let (p, c) = (pixels, channels);
        match self {
            Self::Bool(v) => Self::Bool(moved(v, p, c)),
            Self::U8(v) => Self::U8(moved(v, p, c)),
            Self::U16(v) => Self::U16(moved(v, p, c)),
            Self::U32(v) => Self::U32(moved(v, p, c)),
            Self::U64(v) => Self::U64(moved(v, p, c)),
            Self::I8(v) => Self::I8(moved(v, p, c)),
            Self::I16(v) => Self::I16(moved(v, p, c)),
            Self::I32(v) => Self::I32(moved(v, p, c)),
            Self::I64(v) => Self::I64(moved(v, p, c)),
            Self::F32(v) => Self::F32(moved(v, p, c)),
            Self::F64(v) => Self::F64(moved(v, p, c)),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b1",
            Self::U8(_) => "u1",
            Self::U16(_) => "u2",
            Self::U32(_) => "u4",
            Self::U64(_) => "u8",
            Self::I8(_) => "i1",
            Self::I16(_) => "i2",
            Self::I32(_) => "i4",
            Self::I64(_) => "i8",
            Self::F32(_) => "f4",
            Self::F64(_) => "f8",
        }
    }
}

pub(crate) fn decode(raw: Vec<u8>, stored: Stored) -> NpyValues {
    fn numbers<const N: usize, T>(raw: &[u8], stored: Stored, from_le: fn([u8; N]) -> T) -> Vec<T> {
        let number = |chunk: &[u8]| {
            let mut bytes = [0; N];
            bytes.copy_from_slice(chunk);
            if stored.big_endian {
                bytes.reverse();
            }
            from_le(bytes)
        };
        raw.chunks_exact(N).map(number).collect()
    }
    match (stored.kind, stored.size) {
        (b'u', 2) => NpyValues::U16(numbers(&raw, stored, u16::from_le_bytes)),
        (b'u', 4) => NpyValues::U32(numbers(&raw, stored, u32::from_le_bytes)),
        (b'u', 8) => NpyValues::U64(numbers(&raw, stored, u64::from_le_bytes)),
        (b'i', 1) => NpyValues::I8(numbers(&raw, stored, i8::from_le_bytes)),
        (b'i', 2) => NpyValues::I16(numbers(&raw, stored, i16::from_le_bytes)),
        (b'i', 4) => NpyValues::I32(numbers(&raw, stored, i32::from_le_bytes)),
        (b'i', 8) => NpyValues::I64(numbers(&raw, stored, i64::from_le_bytes)),
        (b'f', 2) => NpyValues::F32(numbers(&raw, stored, half)),
        (b'f', 4) => NpyValues::F32(numbers(&raw, stored, f32::from_le_bytes)),
        (b'f', 8) => NpyValues::F64(numbers(&raw, stored, f64::from_le_bytes)),
        // NumPy takes any byte but 0 as true.
        (b'b', _) => NpyValues::Bool(raw.into_iter().map(|b| u8::from(b != 0)).collect()),
        // The header admits nothing else but bytes.
        _ => NpyValues::U8(raw),
    }
}

/// IEEE 754 half precision, exact in single.
pub(crate) fn half(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes);
    let (sign, exponent, mantissa) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    match exponent {
        // Below the smallest normal number values are whole multiples of 2⁻²⁴.
        0 => f32::from_bits((mantissa as f32 * (-24f32).exp2()).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        e => f32::from_bits(sign | (e + 112) << 23 | mantissa << 13),
    }
}
