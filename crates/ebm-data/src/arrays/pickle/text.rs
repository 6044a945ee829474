//! Texts of the pickles of protocol 0, with Python's escapes.

/// Characters of a text with Python's escapes: of `\u` and `\U` only (`unicode`), or of a quoted byte string.
pub(super) fn unescape(text: &[u8], unicode: bool) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let [kind, after @ ..] = tail else {
            out.push(char::from(*first));
            continue;
        };
        if *first != b'\\' {
            out.push(char::from(*first));
            continue;
        }
        let digits = match (kind, unicode) {
            (b'u', true) => 4,
            (b'U', true) => 8,
            (b'x', false) => 2,
            _ => 0,
        };
        let number = after.get(..digits).and_then(|d| std::str::from_utf8(d).ok());
        let coded = number.and_then(|d| u32::from_str_radix(d, 16).ok()).and_then(char::from_u32);
        if let (Some(c), true) = (coded, digits > 0) {
            out.push(c);
            rest = &after[digits..];
        } else if unicode {
            out.push('\\');
        } else {
            let known = [(b'n', '\n'), (b't', '\t'), (b'r', '\r')].into_iter().find(|(k, _)| k == kind);
            out.push(known.map_or(char::from(*kind), |(_, c)| c));
            rest = after;
        }
    }
    out
}
