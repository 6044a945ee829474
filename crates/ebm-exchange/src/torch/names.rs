//! Names and numbers as Python writes them.

use std::collections::BTreeSet;

/// What a name within a module must not be: words of the language, arguments of `forward`, and what `torch.nn.Module` has.
const TAKEN: [&str; 89] = [
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "x",
    "h",
    "self",
    "condition",
    "torch",
    "F",
    "nn",
    "math",
    "T_destination",
    "add_module",
    "append",
    "apply",
    "bfloat16",
    "buffers",
    "call_super_init",
    "children",
    "compile",
    "cpu",
    "cuda",
    "double",
    "dump_patches",
    "eval",
    "extra_repr",
    "float",
    "forward",
    "get_buffer",
    "get_parameter",
    "get_submodule",
    "half",
    "ipu",
    "load_state_dict",
    "log_z",
    "modules",
    "mtia",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "register_buffer",
    "register_module",
    "register_parameter",
    "requires_grad_",
    "set_submodule",
    "share_memory",
    "state_dict",
    "to",
    "to_empty",
    "train",
    "training",
    "type",
    "weights",
    "xpu",
    "zero_grad",
];

/// `name` as a word of Python that means nothing yet.
pub(super) fn word(name: &str) -> String {
    let mut word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
        word.insert_str(0, "part_");
    }
    if TAKEN.contains(&word.as_str()) || word.starts_with("__") {
        word.push_str("_part");
    }
    word
}

/// `name`, with a number behind it if it is among `used`, which it then joins.
pub(super) fn unique(name: String, used: &mut BTreeSet<String>) -> String {
    let mut found = name.clone();
    let mut count = 2;
    while !used.insert(found.clone()) {
        found = format!("{name}_{count}");
        count += 1;
    }
    found
}

/// `res-1a` as `Res1a`.
pub(super) fn class(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let mut all: String = words.map(|w| w[..1].to_ascii_uppercase() + &w[1..]).collect();
    if all.is_empty() || all.starts_with(|c: char| c.is_ascii_digit()) {
        all.insert_str(0, "Part");
    }
    all
}

/// Sizes as a tuple.
pub(super) fn tuple(sizes: &[usize]) -> String {
    match sizes {
        [one] => format!("({one},)"),
        all => format!("({})", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A number.
pub(super) fn number(v: f64) -> String {
    match v {
        v if v.is_nan() => "math.nan".into(),
        f64::INFINITY => "math.inf".into(),
        f64::NEG_INFINITY => "-math.inf".into(),
        // The shortest digits that give the same number back.
        v => format!("{v:?}"),
    }
}

/// Lines with `by` spaces before each that is not empty.
pub(super) fn indented(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    text.lines().map(|l| if l.is_empty() { "\n".into() } else { format!("{space}{l}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_become_words_that_mean_nothing_yet() {
        assert_eq!(word("res_1a.conv1"), "res_1a_conv1");
        assert_eq!(word("0.weight"), "part_0_weight");
        for taken in ["half", "class", "x", "state_dict", "__init__"] {
            assert_ne!(word(taken), taken);
        }
        let mut used = BTreeSet::new();
        assert_eq!(["a", "a", "a"].map(|n| unique(n.into(), &mut used)), ["a", "a_2", "a_3"]);
        assert_eq!((class("deep-rbm"), class("3")), ("DeepRbm".into(), "Part3".into()));
        assert_eq!((tuple(&[2]), tuple(&[1, 8])), ("(2,)".into(), "(1, 8)".into()));
        assert_eq!((number(1e-30), number(f64::INFINITY)), ("1e-30".into(), "math.inf".into()));
    }
}
