//! What a part of a program says about its links before a run.

/// Whether the links of a part tell the truth about the dependence on θ, and whether there is any.
///
/// Links hold random numbers, decisions and step sizes fixed: see [`Link`](crate::Link).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// Every link is exact, and the parameters enter.
    Exact,
    /// Every link is exact, and the parameters do not enter: noise, augmentation. What was before goes on through it.
    Passes,
    /// The result is a constant: nothing before it matters.
    Cuts,
    /// The part of this name depends on θ in a way that its link does not tell; a KL term must refuse it.
    Unknown(String),
}

impl Sensitivity {
    /// That of parts one after the other, in their order: what a part that cuts has before it does not count; the last that is
    /// unknown makes all unknown; else parameters enter if they do in one of them. Of no parts it is exact.
    pub fn all(parts: impl IntoIterator<Item = Sensitivity>) -> Self {
        let parts: Vec<Sensitivity> = parts.into_iter().collect();
        let mut found = if parts.is_empty() { Sensitivity::Exact } else { Sensitivity::Passes };
        for part in parts.into_iter().rev() {
            match part {
                Sensitivity::Passes => {}
                Sensitivity::Exact => found = Sensitivity::Exact,
                Sensitivity::Cuts if found == Sensitivity::Exact => break,
                end => return end,
            }
        }
        found
    }

    /// That of parts of which each chain takes one.
    pub fn either(parts: impl IntoIterator<Item = Sensitivity>) -> Self {
        let rank = |s: &Sensitivity| match s {
            Sensitivity::Unknown(_) => 3,
            Sensitivity::Exact => 2,
            Sensitivity::Passes => 1,
            Sensitivity::Cuts => 0,
        };
        parts.into_iter().max_by_key(rank).unwrap_or(Sensitivity::Exact)
    }

    /// Whether the links tell the truth, be it that nothing depends on θ.
    pub fn is_exact(&self) -> bool {
        !matches!(self, Sensitivity::Unknown(_))
    }

    /// Whether the parameters enter, so that there is a gradient in them.
    pub fn enters(&self) -> bool {
        matches!(self, Sensitivity::Exact | Sensitivity::Unknown(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_a_row_and_side_by_side() {
        use Sensitivity::{Cuts, Exact, Passes};
        let unknown = || Sensitivity::Unknown("hmc".into());
        let all = |parts: &[Sensitivity]| Sensitivity::all(parts.to_vec());
        assert_eq!(all(&[]), Exact);
        assert_eq!(all(&[Passes, Exact, Passes]), Exact);
        assert_eq!(all(&[Passes, Passes]), Passes);
        assert_eq!(all(&[Exact, Passes, Cuts, Passes]), Cuts);
        assert_eq!(all(&[unknown(), Cuts, Exact]), Exact);
        assert_eq!(all(&[Cuts, unknown(), Exact]), unknown());
        let either = |parts: &[Sensitivity]| Sensitivity::either(parts.to_vec());
        assert_eq!(either(&[Passes, Cuts]), Passes);
        assert_eq!(either(&[Exact, Passes]), Exact);
        assert_eq!(either(&[Exact, unknown()]), unknown());
        assert!(!Passes.enters() && !Cuts.enters() && Passes.is_exact() && !unknown().is_exact());
    }
}
