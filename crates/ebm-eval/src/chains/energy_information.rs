//! How well fresh momenta carry a chain of Hamiltonian Monte Carlo over the energies of its target.

/// E-BFMI below which momenta are said to carry too little (Betancourt 2016; Stan's number).
pub const LEAST_INFORMATION: f64 = 0.3;

/// The estimated Bayesian fraction of missing information of one chain: `Σ(Hₙ − Hₙ₋₁)² / Σ(Hₙ − H̄)²` of the values `H` of the Hamiltonian
/// at its draws, one by one (Betancourt 2016, arXiv 1604.00695, section 3). Near 1 the energies of a draw are nearly
/// independent of those before; small where the energies of the target are spread wider than one fresh momentum can change them, as in the
/// tails of a funnel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EnergyInformation {
    count: f64,
    mean: f64,
    squares: f64,
    jumps: f64,
    last: f64,
}

impl EnergyInformation {
    /// Takes the Hamiltonian of the next draw, nats; one that is not finite is left out.
    pub fn push(&mut self, hamiltonian: f64) {
        if !hamiltonian.is_finite() {
            return;
        }
        if self.count > 0.0 {
            self.jumps += (hamiltonian - self.last).powi(2);
        }
        self.last = hamiltonian;
        self.count += 1.0;
        let before = hamiltonian - self.mean;
        self.mean += before / self.count;
        self.squares += before * (hamiltonian - self.mean);
    }

    /// E-BFMI; none with fewer than two draws, or where all have one energy.
    pub fn value(&self) -> Option<f64> {
        (self.count >= 2.0 && self.squares > 0.0).then(|| self.jumps / self.squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_ratio_of_the_sums_by_hand() {
        let mut found = EnergyInformation::default();
        assert_eq!(found.value(), None);
        [1.0, 3.0, f64::NAN, 2.0].into_iter().for_each(|h| found.push(h));
        // Jumps 4 + 1; deviations 1, 1, 0 from the mean 2.
        assert!(found.value().is_some_and(|v| (v - 2.5).abs() < 1e-15), "{found:?}");
        let mut still = EnergyInformation::default();
        [1.0, 1.0].into_iter().for_each(|h| still.push(h));
        assert_eq!(still.value(), None);
    }

    /// A random walk of small steps has little of it.
    #[test]
    fn slow_energies_have_little() {
        let mut found = EnergyInformation::default();
        (0..1000).for_each(|i| found.push((f64::from(i) * 0.01).sin()));
        assert!(found.value().is_some_and(|v| v < 1e-3), "{found:?}");
    }
}
