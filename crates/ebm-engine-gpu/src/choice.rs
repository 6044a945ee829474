//! Which of the algorithms that a library offers for a convolution is taken.

/// How products may be rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Math {
    /// As the type has them.
    Exact,
    /// As the device likes: factors that fit TF32 lose nothing by it, others were to be rounded.
    Rounded,
}

/// What the library says of one algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Whether it takes the shape at all.
    pub supported: bool,
    /// Whether it adds in a fixed order, so that a run can be resumed to the same bytes.
    pub deterministic: bool,
    /// Whether its factors are converted to another type, which neither [`Math`] allows.
    pub converts: bool,
    /// Whether it is for the tensor cores, which round factors in f32.
    pub rounds: bool,
    /// Bytes of its workspace.
    pub bytes: usize,
}

/// What a workspace may take: beyond it an algorithm costs more memory than it can be worth.
const MOST_BYTES: usize = 1 << 30;

/// The place of the first of `answers`, which come quickest first, that may be used.
pub(crate) fn first_fit(answers: &[Answer], math: Math) -> Option<usize> {
    answers.iter().position(|a| {
        let rounding = a.converts || (a.rounds && math == Math::Exact);
        a.supported && a.deterministic && !rounding && a.bytes <= MOST_BYTES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Answer =
        Answer { supported: true, deterministic: true, converts: false, rounds: false, bytes: 1 << 20 };

    #[test]
    fn the_first_that_is_supported_repeatable_exact_and_small_is_taken() {
        let bad = [
            Answer { supported: false, ..GOOD },
            Answer { deterministic: false, ..GOOD },
            Answer { converts: true, ..GOOD },
            Answer { bytes: MOST_BYTES + 1, ..GOOD },
        ];
        for one in bad {
            for math in [Math::Exact, Math::Rounded] {
                assert_eq!(first_fit(&[one], math), None, "{one:?}");
                assert_eq!(first_fit(&[one, GOOD, GOOD], math), Some(1), "{one:?}");
            }
        }
        let rounds = Answer { rounds: true, ..GOOD };
        assert_eq!(first_fit(&[rounds, GOOD], Math::Exact), Some(1));
        assert_eq!(first_fit(&[rounds, GOOD], Math::Rounded), Some(0));
        assert_eq!(first_fit(&[], Math::Rounded), None);
    }
}
