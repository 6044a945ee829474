//! The five usual targets of sampler comparisons, by numbers of another program (plain double precision
//! sums over the defining formulas), so that results can be compared with other samplers.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, BuildCx, EnergyConfig, Key};
use ebm_energies_density::{Banana, DoubleWell, Funnel, Grid25, IllConditionedGaussian};

/// Energies at `x_i = s·sin(1 + i)` for `s = ½` and `s = −2`, and the first coordinates' variances.
struct Target {
    config: Box<dyn EnergyConfig>,
    values: usize,
    energies: [f64; 2],
    variances: Vec<f64>,
}

fn targets() -> Vec<Target> {
    let t = |config: Box<dyn EnergyConfig>, values, energies, variances: &[f64]| Target {
        config,
        values,
        energies,
        variances: variances.to_vec(),
    };
    vec![
        t(
            Box::<IllConditionedGaussian>::default(),
            100,
            [27.256482287592114, 436.1037166014738],
            &[0.6017030561583112f64.powi(2)],
        ),
        t(Box::<Funnel>::default(), 10, [2.2555019050832605, 38.792351134339384], &[9.0]),
        t(Box::<Banana>::default(), 2, [5.949851972363571, 0.6152477879868572], &[100.0, 19.0]),
        t(Box::<DoubleWell>::default(), 4, [12.123240159243903, 44.77832986299909], &[0.9176708607452359; 4]),
        t(Box::<Grid25>::default(), 2, [19.17516094160023, 6.671681076295824], &[2.01; 2]),
    ]
}

#[test]
fn energies_and_variances_are_those_of_the_other_program() {
    for t in targets() {
        let e =
            t.config.build(&mut BuildCx::new(&[t.values], DType::F64, &Device::Cpu, Key::root(1))).unwrap();
        let x: Vec<f64> =
            [0.5, -2.0].iter().flat_map(|s| (0..t.values).map(move |i| s * (1.0 + i as f64).sin())).collect();
        let at = Batch::new(Tensor::from_vec(x, (2, t.values), &Device::Cpu).unwrap()).unwrap();
        let got = e.energy(&at).unwrap().to_vec1::<f64>().unwrap();
        for (got, want) in got.iter().zip(t.energies) {
            // A hundred products of a hundred terms, each rounded.
            assert!((got / want - 1.0).abs() < 1e-12, "{:?}: {got} against {want}", t.config);
        }
        let variance = e.density().unwrap().variance().unwrap();
        for (got, want) in variance.iter().zip(t.variances) {
            // The other program's double well ends at ±3, where e⁻²⁵⁶ is left.
            assert!((got / want - 1.0).abs() < 1e-11, "{:?}: {got} against {want}", t.config);
        }
    }
}
