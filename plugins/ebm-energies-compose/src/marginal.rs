//! `marginal`: a conditional energy summed over its classes.

use std::sync::Arc;

use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Result, Settings, SoftMin, plugin};

/// `E(x) = −log Σ_y exp(−E(x, y))` over the classes `y`: the energy of samples whose label is not known.
#[derive(Debug, Settings)]
pub struct MarginalConfig {
    /// A conditional energy; its conditions are classes, one-hot.
    pub energy: Box<dyn EnergyConfig>,
    /// Number of classes; that of the data without it.
    #[setting(at_least = 1, at_most = 100_000)]
    pub classes: Option<usize>,
}

#[plugin(
    "marginal",
    summary = "a conditional energy summed over its classes: −log Σ exp(−E(x, y))",
    source = "Grathwohl, Wang, Jacobsen, Duvenaud, Norouzi, Swersky 2020, equation 4",
    example = r#"classes = 10
energy = { kind = "conv-net", layers = [{ filters = 4, stride = 2 }], hidden = [8], conditional = true }"#
)]
impl EnergyConfig for MarginalConfig {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn EnergyFn>> {
        let shape = cx.sample_shape().to_vec();
        let classes = match self.classes.unwrap_or(cx.condition()) {
            0 => {
                return Err(
                    cx.refuse("classes", "is missing, and the data have no labels: give their number")
                );
            }
            n => n,
        };
        let inner = cx.part_under("pair", "energy", &shape, classes, &*self.energy)?;
        Ok(Arc::new(SoftMin::marginal(inner).map_err(|e| cx.relocate("energy", e))?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device, Tensor};
    use ebm_core::{
        Autograd, Batch, Chains, Condition, Conditioned, Diff, EnergySpec, Forward, Key, ParamSet, Role, View,
    };
    use ebm_testkit::check_energy;

    use super::*;

    const NET: &str =
        "kind = 'conv-net'\nconditional = true\nhidden = [6]\nlayers = [{ filters = 3, stride = 2 }]";

    fn built(text: &str, condition: usize) -> Arc<dyn EnergyFn> {
        use ebm_energies_net as _;
        let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
        let mut cx =
            BuildCx::new(&[1, 4, 4], DType::F64, &Device::Cpu, Key::root(0)).with_condition(condition);
        config.build(&mut cx).unwrap()
    }

    fn at() -> Batch {
        Batch::new(Key::root(1).normal(&Chains::range(0, 3), &[1, 4, 4], DType::F64, &Device::Cpu).unwrap())
            .unwrap()
    }

    /// E(x, c) = Σ c·((xW)² + xV): a Gaussian for each class.
    struct Gaussians;

    impl Forward for Gaussians {
        fn terms<V: Diff>(&self, p: &View, x: &V, cond: Option<&Tensor>) -> Result<V> {
            let both = x.matmul(p.get("w")?)?.square()?.plus(&x.matmul(p.get("v")?)?)?;
            match cond {
                Some(class) => both.times(class)?.sum_last(),
                None => both.sum_last(),
            }
        }
    }

    #[test]
    fn the_marginal_keeps_the_laws_of_an_energy() {
        let random = |seed, dims: &[usize]| {
            Key::root(seed).normal(&Chains::range(0, dims[0]), &dims[1..], DType::F64, &Device::Cpu).unwrap()
        };
        let params = ["w", "v"]
            .map(|n| (n.to_string(), random(n.len() as u64 + u64::from(n == "v"), &[2, 3]), Role::Trainable));
        let mut spec = EnergySpec::new(&[2], &["pair"]);
        spec.condition = Condition::Required(3);
        let pairs = Autograd::new("pairs", Gaussians, spec, ParamSet::new(params).unwrap());
        let marginal = SoftMin::marginal(Arc::new(pairs)).unwrap();
        assert_eq!(marginal.params().names().collect::<Vec<_>>(), ["v", "w"]);
        check_energy(&marginal, &Batch::new(random(7, &[4, 2])).unwrap()).unwrap();
    }

    #[test]
    fn the_marginal_is_the_sum_over_classes() {
        let text = NET.replace('\n', ", ");
        let marginal = built(&format!("kind = 'marginal'\nenergy = {{ {text} }}"), 3);
        let found = marginal.energy(&at()).unwrap().to_vec1::<f64>().unwrap();
        let one_class = built(&format!("kind = 'marginal'\nclasses = 1\nenergy = {{ {text} }}"), 0);
        assert_eq!(one_class.spec().terms, ["marginal"]);
        let inner = built(NET, 3);
        inner.params().restore(&marginal.params().snapshot().unwrap()).unwrap();
        let mut sum = vec![0.0; 3];
        for class in 0..3 {
            let one_hot = (0..3).map(|k| f64::from(u8::from(k == class))).collect();
            let e = Conditioned::new(inner.clone(), one_hot).unwrap().energy(&at()).unwrap();
            sum.iter_mut().zip(e.to_vec1::<f64>().unwrap()).for_each(|(s, e)| *s += (-e).exp());
        }
        for (found, sum) in found.iter().zip(sum) {
            assert!((found + sum.ln()).abs() < 1e-12, "{found} {sum}");
        }
    }

    #[test]
    fn without_a_condition_there_is_nothing_to_sum_over() {
        use ebm_energies_net as _;
        let config: Box<dyn EnergyConfig> =
            toml::from_str("kind = 'marginal'\nenergy = { kind = 'mlp', hidden = [3] }").unwrap();
        let build = |n| {
            let mut cx = BuildCx::new(&[2], DType::F64, &Device::Cpu, Key::root(0)).with_condition(n);
            config.build(&mut cx).map(|_| ()).unwrap_err().to_string()
        };
        assert!(build(0).contains("classes"), "{}", build(0));
        assert!(build(2).contains("takes no condition"), "{}", build(2));
    }
}
