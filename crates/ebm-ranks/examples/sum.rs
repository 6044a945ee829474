//! Time of the sum over ranks by size: `mpirun -n 2 sum`. Checks every result.

use std::time::Instant;

use candle_core::{Device, Tensor};
use ebm_core::{Collective, Result, Sums};

fn main() -> Result<()> {
    let ranks = ebm_ranks::open()?;
    check(ranks.as_ref())?;
    for n in [1usize, 1_000, 100_000, 1_000_000, 5_000_000] {
        let x = Tensor::full(1f32 + ranks.rank() as f32, n, &Device::Cpu)?;
        let want = (1..=ranks.size()).sum::<usize>() as f32;
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            ranks.gather(&[])?;
            let began = Instant::now();
            let sums = ranks.sum(Some(Sums { tensors: vec![x.clone()], numbers: vec![1.0] }))?;
            best = best.min(began.elapsed().as_secs_f64());
            let sums = sums.unwrap_or_default();
            let (low, high) = (sums.tensors[0].min_all()?, sums.tensors[0].max_all()?);
            assert_eq!((low.to_scalar::<f32>()?, high.to_scalar::<f32>()?), (want, want));
            assert_eq!(sums.numbers, [ranks.size() as f64]);
        }
        if ranks.rank() == 0 {
            println!("{n} numbers over {} ranks: {:.3} ms (best of 10)", ranks.size(), 1e3 * best);
        }
    }
    Ok(())
}

/// Every call once, with lengths that differ from rank to rank.
fn check(ranks: &dyn Collective) -> Result<()> {
    let (me, size) = (ranks.rank(), ranks.size());
    let got = ranks.exchange((0..size).map(|to| vec![me as u8; to + 1]).collect())?;
    assert!(got.iter().enumerate().all(|(from, m)| *m == vec![from as u8; me + 1]));
    let got = ranks.gather(&vec![me as u8; me])?;
    assert!(got.iter().enumerate().all(|(from, m)| *m == vec![from as u8; from]));
    let got = ranks.collect(vec![me as u8; 3 * me])?;
    assert_eq!(got.is_some(), me == 0);
    assert!(got.iter().flatten().enumerate().all(|(from, m)| *m == vec![from as u8; 3 * from]));
    let none = ranks.sum((me + 1 < size).then(Sums::default))?;
    assert!(none.is_none(), "the last rank failed");
    Ok(())
}
