//! Gradients that do not arrive: is the energy constant there, or has an operation no derivative?

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::{Batch, Chains, Error, Key, ParamSet, Result, View};

/// Looks once at each value that no gradient reaches, by a step beside it. candle says the same of a value that the result does
/// not depend on and of one behind an operation without backward pass, such as its fused layer norm, RMS norm and softmax.
#[derive(Default)]
pub(crate) struct Severed {
    /// Parameters that the terms were seen not to depend on.
    unused: Mutex<BTreeSet<String>>,
}

/// Energies `(B, T)` of other samples or with other parameters.
type Terms<'a> = dyn Fn(&View, &Tensor) -> Result<Tensor> + 'a;

impl Severed {
    /// The gradient of `x`, which `at` holds, in `store`; zero if the terms do not change with it.
    ///
    /// # Errors
    /// If they do.
    pub fn of_input(
        &self,
        name: &str,
        store: &mut GradStore,
        x: &Var,
        at: &Batch,
        frozen: &View,
        terms: &Terms<'_>,
    ) -> Result<Tensor> {
        if let Some(g) = store.remove(x) {
            return Ok(g);
        }
        let here = x.as_tensor().detach();
        if changes(&terms(frozen, &here)?, &terms(frozen, &beside(&here, at.chains.clone())?)?)? {
            return Err(refused(name, "the samples"));
        }
        Ok(here.zeros_like()?)
    }

    /// The gradients in `store` of the trainable parameters that the terms depend on.
    ///
    /// # Errors
    /// If there is none of a parameter that they do depend on.
    pub fn of_params(
        &self,
        name: &str,
        store: &GradStore,
        params: &ParamSet,
        x: &Tensor,
        terms: &Terms<'_>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut grads = BTreeMap::new();
        for own in params.trainable() {
            let Some(var) = params.var(own) else { continue };
            match store.get(var) {
                Some(g) => _ = grads.insert(own.to_string(), g.clone()),
                None => self.look(name, own, params, x, terms)?,
            }
        }
        Ok(grads)
    }

    fn look(&self, name: &str, own: &str, params: &ParamSet, x: &Tensor, terms: &Terms<'_>) -> Result<()> {
        let lock = || self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().contains(own) || x.elem_count() == 0 {
            return Ok(());
        }
        let all = |changed: Option<&Tensor>| -> View {
            let value = |n: &str| changed.filter(|_| n == own).or(params.get(n)).map(Tensor::detach);
            View::of(params.names().filter_map(|n| Some((n.to_string(), value(n)?))).collect())
        };
        let Some(value) = params.get(own) else { return Ok(()) };
        let rows = value.dims().first().copied().unwrap_or(1);
        let moved = beside(value, Chains::range(0, rows))?;
        if changes(&terms(&all(None), x)?, &terms(&all(Some(&moved)), x)?)? {
            return Err(refused(name, &format!("the parameter `{own}`")));
        }
        lock().insert(own.to_string());
        Ok(())
    }
}

/// `t` moved by a few per cent, each entry by another share: norms do not see a common shift or factor.
fn beside(t: &Tensor, chains: Chains) -> Result<Tensor> {
    let noise = match t.dims() {
        [] => return Ok(t.affine(1.03, 0.02)?),
        [rows, rest @ ..] if *rows == chains.len() => {
            Key::root(0).at("beside").normal(&chains, rest, t.dtype(), t.device())?
        }
        [rows, rest @ ..] => {
            Key::root(0).at("beside").normal(&Chains::range(0, *rows), rest, t.dtype(), t.device())?
        }
    };
    Ok((t + (noise * t.abs()?.affine(0.05, 0.05)?)?)?)
}

fn changes(a: &Tensor, b: &Tensor) -> Result<bool> {
    let (a, b) = (crate::host::numbers(a)?, crate::host::numbers(b)?);
    Ok(a.iter().zip(&b).any(|(a, b)| a != b && !(a.is_nan() && b.is_nan())))
}

fn refused(name: &str, what: &str) -> Error {
    Error::capability(
        format!("energy `{name}`"),
        format!("a gradient with respect to {what}, on which its terms depend"),
        "an operation of its forward function, which has no derivative",
        "candle's fused layer norm, RMS norm and softmax, rounding and indices have none, nor has what was detached: use \
         `softmax_last` of `Diff` and `layer_norm`, `rms_norm` and the others of `ebm_nn::layers`",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{D, DType, Device};

    use super::*;
    use crate::{Autograd, Diff, EnergyFn, EnergySpec, Forward, Opaque, Role, WeightFn};

    fn params(names: &[&str]) -> ParamSet {
        let one = |n: &&str| {
            (n.to_string(), Tensor::new(&[0.3f64, -0.7, 1.1], &Device::Cpu).unwrap(), Role::Trainable)
        };
        ParamSet::new(names.iter().map(one)).unwrap()
    }

    fn at() -> Batch {
        Batch::new(Tensor::new(&[[1.0f64, 2.0, -0.5], [0.1, 0.2, 0.4]], &Device::Cpu).unwrap()).unwrap()
    }

    /// As candle's fused norms: the value without its graph.
    fn fused(t: &Tensor) -> Result<Tensor> {
        let centred = t.broadcast_sub(&t.mean_keepdim(D::Minus1)?)?;
        let deviation = centred.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
        Ok(centred.broadcast_div(&deviation)?.detach())
    }

    #[test]
    fn a_slope_behind_an_operation_without_a_derivative_is_refused_and_that_of_a_constant_is_0() {
        let cut = Opaque::new("cut", &[3], params(&["w"]), |p, x, _| {
            Ok(fused(x)?.broadcast_mul(p.get("w")?)?.sum_keepdim(1)?)
        });
        let text = cut.slope(&at()).unwrap_err().to_string();
        assert!(
            text.contains("cut") && text.contains("the samples") && text.contains("layer_norm"),
            "{text}"
        );
        // Its parameters do have gradients.
        let ones = WeightFn::ones();
        assert_eq!(cut.grad_theta(&at(), &ones).unwrap().grads.len(), 1);
        let flat = Opaque::new("flat", &[3], ParamSet::default(), |_, x, _| {
            Ok(Tensor::full(2.0f64, (x.dims()[0], 1), &Device::Cpu)?)
        });
        let slope = flat.slope(&at()).unwrap().grad.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(slope, [0.0; 6]);
    }

    /// Weighs coordinates by a share of a parameter without its graph; `spare` does not enter.
    struct Cut;

    impl Forward for Cut {
        fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            let w = fused(&p.get("w")?.unsqueeze(0)?)?;
            x.square()?.times(&w)?.sum_last()
        }
    }

    #[test]
    fn a_parameter_behind_such_an_operation_is_refused_and_one_that_does_not_enter_is_left_out() {
        let ones = WeightFn::ones();
        let build = |names: &[&str]| Autograd::new("cut", Cut, EnergySpec::new(&[3], &["e"]), params(names));
        let cut = build(&["spare", "w"]);
        assert_eq!(cut.slope(&at()).unwrap().grad.dtype(), DType::F64);
        let text = cut.grad_theta(&at(), &ones).unwrap_err().to_string();
        assert!(text.contains("`w`"), "{text}");
        let free = Opaque::new("free", &[3], params(&["spare", "w"]), |p, x, _| {
            Ok(x.sqr()?.broadcast_mul(p.get("w")?)?.sum_keepdim(1)?)
        });
        let grads = free.grad_theta(&at(), &ones).unwrap().grads;
        assert_eq!(grads.keys().collect::<Vec<_>>(), ["w"]);
    }
}
