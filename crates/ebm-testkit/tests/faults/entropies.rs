//! Entropy estimators: half the logarithm of the squared distance from the mean of the bank, with one line wrong.

use ebm_core::candle::Tensor;
use ebm_core::{EntropyEstimate, EntropyEstimator, Error, Key, Result, per_row};
use ebm_testkit::{Verdict, laws};

use crate::{Planted, planted};

struct Spread(&'static str);

impl EntropyEstimator for Spread {
    fn estimate(&self, x: &Tensor, bank: &Tensor, key: Key) -> Result<EntropyEstimate> {
        let least = if self.0 == "bank" { 5 } else { 1 };
        if bank.dims()[0] < least {
            return Err(Error::config("spread", "wants a larger bank"));
        }
        let middle = match self.0 {
            "first" => bank.narrow(0, 0, 1)?,
            _ => bank.mean_keepdim(0)?,
        };
        let off = x.broadcast_sub(&middle)?;
        let square = off.flatten_from(1)?.sqr()?.sum(1)?.affine(1.0, 1e-12)?;
        let mut value = square.log()?.affine(0.5, 0.0)?;
        let mut grad = off.broadcast_div(&per_row(&square, x)?)?.affine(1.0 / x.dim(0)? as f64, 0.0)?;
        match self.0 {
            "sign" => grad = grad.neg()?,
            "both signs" => (value, grad) = (value.neg()?, grad.neg()?),
            "scale" => grad = grad.affine(x.dim(0)? as f64, 0.0)?,
            "log" => grad = grad.affine(2.0, 0.0)?,
            "shape" => value = value.unsqueeze(1)?,
            "random" => {
                let u = Key::root(std::process::id().into())
                    .at(format!("{:?}", std::time::Instant::now()).as_str());
                let _ = key;
                value = value.affine(1.0, u.uniform_at(0))?;
            }
            "rows" => {
                value = value.broadcast_add(
                    &Tensor::arange(0.0, x.dim(0)? as f64, x.device())?
                        .affine(0.01, 0.0)?
                        .to_dtype(x.dtype())?,
                )?
            }
            _ => {}
        }
        Ok(EntropyEstimate { value, grad })
    }
    fn name(&self) -> String {
        "spread".into()
    }
}

fn check(what: &'static str) -> Verdict {
    laws::entropy(&Spread(what), &[3])
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> Verdict| planted("entropy", fault, says, run);
    vec![
        p("sound spread", "", || check("")),
        p("gradient with the sign turned", "gradient deviates", || check("sign")),
        p("value and gradient with the sign turned", "sign is turned", || check("both signs")),
        p("gradient of the sum, not of the mean", "gradient deviates", || check("scale")),
        p("gradient of the logarithm of the square", "gradient deviates", || check("log")),
        p("values as a column", "values have shape", || check("shape")),
        p("a clock in the value", "two results", || check("random")),
        p("value by place in the batch", "another order", || check("rows")),
        p("first sample of the bank for all of it", "bank in another order", || check("first")),
        p("a smaller bank stated than it takes", "states that a bank", || check("bank")),
    ]
}
