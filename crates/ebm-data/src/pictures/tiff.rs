//! Whether the tags of a TIFF file state more values than the file has bytes: its decoder takes memory on their word.

/// Whether the first directory of a classic or big TIFF file has such a tag; false of other files.
pub(super) fn states_more_than_it_holds(raw: &[u8]) -> bool {
    let (little, version) = match raw.get(..4) {
        Some(&[b'I', b'I', v, 0]) => (true, v),
        Some(&[b'M', b'M', 0, v]) => (false, v),
        _ => return false,
    };
    // Width of an offset and a count, and of the number of entries.
    let (wide, many, first) = match version {
        42 => (4, 2, 4),
        43 => (8, 8, 8),
        _ => return false,
    };
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = raw.get(at..at.checked_add(width)?)?;
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let counts = || -> Option<Vec<u64>> {
        let directory = usize::try_from(number(first, wide)?).ok()?;
        let entries = usize::try_from(number(directory, many)?).ok()?;
        // Tag and type, the count, the value or where it lies.
        let width = 4 + 2 * wide;
        let at = |i: usize| directory.checked_add(many)?.checked_add(i.checked_mul(width)?)?.checked_add(4);
        (0..entries.min(raw.len() / width)).map(|i| number(at(i)?, wide)).collect()
    };
    counts().is_some_and(|counts| counts.iter().any(|c| *c > raw.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_more_values_than_bytes_is_seen_in_both_orders_and_sizes() {
        let classic = |count: u32| {
            let entry =
                [&273u16.to_le_bytes()[..], &4u16.to_le_bytes(), &count.to_le_bytes(), &[0; 4]].concat();
            [&b"II*\0"[..], &8u32.to_le_bytes(), &1u16.to_le_bytes(), &entry, &[0; 4]].concat()
        };
        let big = |count: u64| {
            let entry =
                [&273u16.to_be_bytes()[..], &16u16.to_be_bytes(), &count.to_be_bytes(), &[0; 8]].concat();
            [&b"MM\0+\0\x08\0\0"[..], &16u64.to_be_bytes(), &1u64.to_be_bytes(), &entry].concat()
        };
        assert!(states_more_than_it_holds(&classic(1 << 21)) && !states_more_than_it_holds(&classic(3)));
        assert!(states_more_than_it_holds(&big(1 << 40)) && !states_more_than_it_holds(&big(3)));
        assert!(!states_more_than_it_holds(b"II*") && !states_more_than_it_holds(b"\x89PNG"));
    }
}
