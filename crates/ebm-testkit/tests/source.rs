//! What the check of data sources says of each broken one.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, Chains, DataSource, Key, Labelled, Result, Split};
use ebm_testkit::check_source;

/// Uniform pairs with a condition, with one thing wrong.
struct Broken(&'static str, AtomicU64);

impl DataSource for Broken {
    fn len(&self) -> usize {
        12
    }
    fn sample_shape(&self) -> &[usize] {
        if self.0 == "shape" { &[3] } else { &[2] }
    }
    fn condition(&self) -> usize {
        if self.0 == "condition" { 4 } else { 3 }
    }
    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        let calls = self.1.fetch_add(1, Ordering::Relaxed);
        let key = if self.0 == "function" { key.at(calls) } else { key.at(epoch) };
        let first = if self.0 == "chains" { 0 } else { (index * size) as u64 };
        let chains = Chains::range(first + if self.0 == "chains" { 1 } else { 0 }, size);
        let x = key.uniform(&chains, &[2], DType::F32, &Device::Cpu)?;
        let x = if self.0 == "range" { x.affine(1.0, 0.5)? } else { x };
        let cond = Tensor::ones((size, 3), DType::F32, &Device::Cpu)?;
        Ok(Batch::new(x)?.with_cond(Some(cond)).with_chains(chains))
    }
    fn rows(
        &self,
        epoch: u64,
        index: usize,
        size: usize,
        first: usize,
        count: usize,
        key: Key,
    ) -> Result<Batch> {
        let first = if self.0 == "rows" { 0 } else { first };
        self.batch(epoch, index, size, key)?.narrow(first, count)
    }
    fn stored(&self, _: Split, limit: usize) -> Result<Option<Labelled>> {
        let n = if self.0 == "stored" { limit + 1 } else { limit };
        let labels = if self.0 == "labels" { vec![0; n + 1] } else { vec![0; n] };
        let x = Tensor::ones((n, 2), DType::F32, &Device::Cpu)?;
        Ok(Some(Labelled { x, labels: Some(labels) }))
    }
    fn range(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }
    fn name(&self) -> String {
        format!("source with wrong {}", self.0)
    }
}

#[test]
fn each_broken_source_is_told_why() {
    let check = |wrong| check_source(&Broken(wrong, AtomicU64::new(0)));
    check("nothing").unwrap();
    for (wrong, word) in [
        ("shape", "a batch has shape"),
        ("condition", "conditions have length"),
        ("function", "gave another batch"),
        ("chains", "chains are"),
        ("range", "outside of"),
        ("rows", "rows of a batch"),
        ("stored", "asked for 3"),
        ("labels", "one a sample"),
    ] {
        let text = check(wrong).unwrap_err().to_string();
        assert!(text.contains(word), "{wrong}: {text}");
    }
}
