//! As much of the protocol buffers' wire format as event files need.

/// A message under construction.
#[derive(Default)]
pub(crate) struct Message(pub Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, wire: u8) {
        varint(&mut self.0, u64::from(field) << 3 | u64::from(wire));
    }

    /// A whole number.
    pub fn int(mut self, field: u32, v: u64) -> Self {
        self.key(field, 0);
        varint(&mut self.0, v);
        self
    }

    /// A `double`.
    pub fn double(mut self, field: u32, v: f64) -> Self {
        self.key(field, 1);
        self.0.extend(v.to_le_bytes());
        self
    }

    /// A `float`.
    pub fn float(mut self, field: u32, v: f32) -> Self {
        self.key(field, 5);
        self.0.extend(v.to_le_bytes());
        self
    }

    /// A string or bytes.
    pub fn bytes(mut self, field: u32, v: &[u8]) -> Self {
        self.key(field, 2);
        varint(&mut self.0, v.len() as u64);
        self.0.extend(v);
        self
    }

    /// A message inside.
    pub fn message(self, field: u32, inner: Message) -> Self {
        self.bytes(field, &inner.0)
    }

    /// A packed list of `double`.
    pub fn doubles(self, field: u32, v: impl IntoIterator<Item = f64>) -> Self {
        let packed: Vec<u8> = v.into_iter().flat_map(f64::to_le_bytes).collect();
        self.bytes(field, &packed)
    }
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 128 {
        out.push(v as u8 | 128);
        v >>= 7;
    }
    out.push(v as u8);
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Int(u64),
    /// Wire types 1 and 5, little end first.
    Fixed(&'a [u8]),
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// The next field of a message, taken off its front; `None` at its end or where it is damaged.
pub(crate) fn field<'a>(from: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let key = int(from)?;
    let value = match key & 7 {
        0 => Value::Int(int(from)?),
        1 => Value::Fixed(from.split_off(..8)?),
        2 => {
            let n = usize::try_from(int(from)?).ok()?;
            Value::Bytes(from.split_off(..n)?)
        }
        5 => Value::Fixed(from.split_off(..4)?),
        _ => return None,
    };
    Some((u32::try_from(key >> 3).ok()?, value))
}

fn int(from: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.split_off_first()?;
        v |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(v);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_description() {
        // protobuf.dev, "Encoding": 150 in field 1, "testing" in field 2.
        assert_eq!(Message::default().int(1, 150).0, [0x08, 0x96, 0x01]);
        let text = Message::default().bytes(2, b"testing").0;
        assert_eq!(text, [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
    }

    #[test]
    fn fields_come_back_and_no_damage_panics() {
        let inner = Message::default().float(1, 0.5);
        let m =
            Message::default().int(2, u64::MAX).double(1, -2.0).message(17, inner).doubles(7, [1.0, 2.0]).0;
        let mut rest = &m[..];
        assert_eq!(field(&mut rest), Some((2, Value::Int(u64::MAX))));
        assert_eq!(field(&mut rest), Some((1, Value::Fixed(&(-2f64).to_le_bytes()))));
        assert_eq!(field(&mut rest), Some((17, Value::Bytes(&[0x0d, 0, 0, 0, 0x3f]))));
        assert!(matches!(field(&mut rest), Some((7, Value::Bytes(b))) if b.len() == 16));
        assert_eq!((field(&mut rest), rest.len()), (None, 0));
        for cut in 0..m.len() {
            let mut rest = &m[..cut];
            while field(&mut rest).is_some() {}
        }
        assert_eq!(field(&mut &[0xff; 11][..]), None);
    }
}
