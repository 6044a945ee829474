//! `nearest-neighbour`: the paper's surrogate `mean log min_j ‖x − r_j‖`.

use ebm_core::candle::Tensor;
use ebm_core::{BuildCx, EntropyConfig, EntropyEstimate, EntropyEstimator, Key, Result, Settings, plugin};

use crate::neighbours::{kth_nearest, mean_log_gradient};

/// Mean log distance to the nearest earlier sample, constants dropped: the paper's surrogate.
///
/// Euclidean distances; neither constants nor the factor of the dimension (Du, Li, Tenenbaum, Mordatch 2021, after
/// Kozachenko, Leonenko 1987).
#[derive(Clone, Debug, Settings)]
pub struct NearestNeighbour {
    /// Reference samples at most this far away are taken for the sample itself and do not count.
    #[setting(at_least = 0.0)]
    pub exclude: Option<f64>,
}

/// Added inside the logarithm, so that a sample on a reference sample has a finite value.
const FLOOR: f64 = 1e-12;

impl EntropyEstimator for NearestNeighbour {
    fn estimate(&self, x: &Tensor, bank: &Tensor, _: Key) -> Result<EntropyEstimate> {
        let near = kth_nearest("nearest-neighbour", x, bank, 1, self.exclude.unwrap_or(-1.0))?;
        let value = near.distance.affine(1.0, FLOOR)?.log()?.to_dtype(x.dtype())?.to_device(x.device())?;
        Ok(EntropyEstimate { value, grad: mean_log_gradient(x, bank, &near)? })
    }

    fn name(&self) -> String {
        "nearest-neighbour".into()
    }
}

#[plugin(
    "nearest-neighbour",
    source = "Du, Li, Tenenbaum, Mordatch 2021, section 3; Kozachenko, Leonenko 1987",
    example = ""
)]
impl EntropyConfig for NearestNeighbour {
    fn make(&self, _: &mut BuildCx) -> Result<Box<dyn EntropyEstimator>> {
        Ok(Box::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ebm_core::candle::Device;

    fn value(x: [[f64; 2]; 3], bank: &Tensor) -> f64 {
        let x = Tensor::new(&x, &Device::Cpu).unwrap();
        let h = NearestNeighbour::default().estimate(&x, bank, Key::root(0)).unwrap();
        h.value.mean_all().unwrap().to_scalar::<f64>().unwrap()
    }

    #[test]
    fn the_gradient_is_that_of_the_mean() {
        let bank = Tensor::new(&[[0f64, 1.0], [2.0, 0.3], [-1.0, 0.5]], &Device::Cpu).unwrap();
        let x = [[0.3, 0.2], [1.4, 0.9], [-3.0, 0.1]];
        let at = Tensor::new(&x, &Device::Cpu).unwrap();
        let g = NearestNeighbour::default().estimate(&at, &bank, Key::root(0)).unwrap().grad;
        let g = g.to_vec2::<f64>().unwrap();
        for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            let shifted = |h: f64| {
                let mut y = x;
                y[i][j] += h;
                value(y, &bank)
            };
            // Central difference: truncation h² = 1e-10.
            let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((g[i][j] - difference).abs() < 1e-8, "{i} {j}: {} {difference}", g[i][j]);
        }
    }

    #[test]
    fn ties_go_to_the_first_and_a_sample_on_a_reference_has_no_pull() {
        let bank = Tensor::new(&[[1f64, 0.0], [-1.0, 0.0]], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[0f64, 0.0], [1.0, 0.0]], &Device::Cpu).unwrap();
        let h = NearestNeighbour::default().estimate(&x, &bank, Key::root(0)).unwrap();
        assert_eq!(h.grad.to_vec2::<f64>().unwrap(), [[-0.5, 0.0], [0.0, 0.0]]);
        let apart = NearestNeighbour { exclude: Some(0.0) };
        let h = apart.estimate(&x, &bank, Key::root(0)).unwrap();
        assert!((h.value.to_vec1::<f64>().unwrap()[1] - 2f64.ln()).abs() < 1e-11);
    }

    #[test]
    fn close_pairs_far_from_the_origin_keep_their_distance() {
        // The expanded square has no digit left here in f32.
        let bank = Tensor::new(&[[1000f32, 1000.0], [1000.5, 1000.0]], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[1000.01f32, 1000.0]], &Device::Cpu).unwrap();
        let h = NearestNeighbour::default().estimate(&x, &bank, Key::root(0)).unwrap();
        let want = (1000.01f32 - 1000.0).ln();
        assert!((h.value.to_vec1::<f32>().unwrap()[0] - want).abs() < 1e-5);
    }

    #[test]
    fn another_shape_is_refused() {
        let bank = Tensor::new(&[[1f64, 0.0, 0.0]], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[0f64, 0.0]], &Device::Cpu).unwrap();
        assert!(NearestNeighbour::default().estimate(&x, &bank, Key::root(0)).is_err());
    }
}
