//! What a step claims of the law of its chains.

/// What a step leaves as it is, at step sizes that no longer move ([`Learning::Done`](crate::Learning::Done)). Tests of
/// `ebm-testkit` hold a step to its claim.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Law {
    /// Nothing is claimed: a step of finite size without an accept test, noise, augmentation.
    #[default]
    Unsaid,
    /// Chains that follow exp(−E/T) still do after a step.
    Invariant {
        /// T.
        temperature: f64,
    },
    /// Moreover a step from `x` to `x′` is as likely as one back: detailed balance.
    Reversible {
        /// T.
        temperature: f64,
    },
}

impl Law {
    /// T, where a law is claimed.
    pub fn temperature(self) -> Option<f64> {
        match self {
            Law::Unsaid => None,
            Law::Invariant { temperature } | Law::Reversible { temperature } => Some(temperature),
        }
    }

    /// Without detailed balance.
    fn invariant(self) -> Law {
        self.temperature().map_or(Law::Unsaid, |temperature| Law::Invariant { temperature })
    }

    /// That of steps one after the other: invariant if all are, at one temperature; in a row they are not reversible.
    pub fn all(parts: impl IntoIterator<Item = Law>) -> Law {
        let parts: Vec<Law> = parts.into_iter().collect();
        match &parts[..] {
            [] => Law::Unsaid,
            [one] => *one,
            [first, rest @ ..] if rest.iter().all(|l| l.temperature() == first.temperature()) => {
                first.invariant()
            }
            _ => Law::Unsaid,
        }
    }

    /// That of steps of which each chain takes one, whatever its state: reversible if all are.
    pub fn either(parts: impl IntoIterator<Item = Law>) -> Law {
        let parts: Vec<Law> = parts.into_iter().collect();
        let Some(first) = parts.first().copied() else { return Law::Unsaid };
        match parts.iter().all(|l| *l == first) {
            true => first,
            false => Law::all(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_invariant_a_choice_reversible_and_two_temperatures_neither() {
        let at = |temperature| Law::Reversible { temperature };
        let invariant = Law::Invariant { temperature: 1.0 };
        assert_eq!(Law::all([at(1.0)]), at(1.0));
        assert_eq!(Law::all([at(1.0), at(1.0)]), invariant);
        assert_eq!(Law::either([at(1.0), at(1.0)]), at(1.0));
        assert_eq!(Law::either([at(1.0), invariant]), invariant);
        for parts in [vec![at(1.0), at(2.0)], vec![at(1.0), Law::Unsaid], vec![]] {
            assert_eq!((Law::all(parts.clone()), Law::either(parts)), (Law::Unsaid, Law::Unsaid));
        }
    }
}
