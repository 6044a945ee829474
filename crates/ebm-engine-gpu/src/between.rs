//! Sums between ranks on their GPUs, where the tensors lie.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ebm_core::{Collective, Result, Sums};

/// Adds one buffer over all ranks, in place or not; all ranks call it together with buffers of one length.
pub(crate) type Reduce = dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync;

/// A group of ranks whose f32 tensors are added by `reduce`, as one buffer, and everything else by `inner`.
///
/// The order of additions is that of `reduce`: the sum is the same on every rank, and that of another number of ranks up to rounding.
pub(crate) struct OnDevice {
    pub inner: Arc<dyn Collective>,
    pub reduce: Box<Reduce>,
}

impl Debug for OnDevice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, sums on the device", self.inner)
    }
}

impl Collective for OnDevice {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn exchange(&self, outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        self.inner.exchange(outgoing)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.inner.gather(mine)
    }

    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        self.inner.collect(mine)
    }

    fn bound(&self, longest: u64) {
        self.inner.bound(longest);
    }

    fn abort(&self, code: i32) -> ! {
        self.inner.abort(code)
    }

    fn sum(&self, mine: Option<Sums>) -> Result<Option<Sums>> {
        if self.size() == 1 {
            return Ok(mine);
        }
        let single = |t: &Tensor| t.dtype() == DType::F32;
        // A device's sum would wait for ever for a rank that failed, or end wrongly with another length: first the host asks.
        let length = |s: &Sums| s.tensors.iter().filter(|t| single(t)).map(Tensor::elem_count).sum::<usize>();
        let head = mine.as_ref().map(|s| length(s).to_le_bytes().to_vec()).unwrap_or_default();
        let heads = self.inner.gather(&head)?;
        let Some(mine) = mine.filter(|_| heads.iter().all(|h| !h.is_empty())) else { return Ok(None) };
        if heads.iter().any(|h| *h != head) {
            return Err(Sums::uneven());
        }
        let other = mine.tensors.iter().filter(|t| !single(t)).cloned().collect();
        let Some(other) = self.inner.sum(Some(Sums { tensors: other, numbers: mine.numbers.clone() }))?
        else {
            return Ok(None);
        };
        let parts = mine.tensors.iter().filter(|t| single(t)).map(Tensor::flatten_all);
        let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
        let whole = if parts.is_empty() { None } else { Some((self.reduce)(&Tensor::cat(&parts, 0)?)?) };
        let (mut from, mut others) = (0, other.tensors.into_iter());
        let mut tensors = Vec::with_capacity(mine.tensors.len());
        for t in &mine.tensors {
            tensors.push(match whole.as_ref().filter(|_| single(t)) {
                Some(all) => {
                    let n = t.elem_count();
                    from += n;
                    all.narrow(0, from - n, n)?.reshape(t.shape())?
                }
                None => others.next().ok_or_else(Sums::uneven)?,
            });
        }
        Ok(Some(Sums { tensors, numbers: other.numbers }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;
    use ebm_ranks::Threads;

    use super::*;

    /// The group with a device's sum that is the host's.
    fn on_device(inner: Arc<dyn Collective>) -> OnDevice {
        let host = inner.clone();
        let reduce = move |t: &Tensor| {
            let sums = Sums { tensors: vec![t.clone()], numbers: vec![] };
            let all = host.sum(Some(sums)).map_err(candle_core::Error::wrap)?;
            all.and_then(|s| s.tensors.into_iter().next())
                .ok_or_else(|| candle_core::Error::Msg("no sum".into()))
        };
        OnDevice { inner, reduce: Box::new(reduce) }
    }

    fn sums(rank: usize) -> Sums {
        let r = rank as f32;
        let t = |v: &[f32], shape: &[usize]| Tensor::new(v, &Device::Cpu).unwrap().reshape(shape).unwrap();
        let wide = Tensor::new(&[f64::from(r), 0.25], &Device::Cpu).unwrap();
        Sums {
            tensors: vec![t(&[r, 1.0, 2.0, 3.0], &[2, 2]), wide, t(&[10.0 * r], &[1])],
            numbers: vec![f64::from(r), 7.0],
        }
    }

    #[test]
    fn tensors_come_back_in_their_places() {
        let all = Threads::run(3, |ranks| {
            let all = on_device(ranks.clone()).sum(Some(sums(ranks.rank()))).unwrap().unwrap();
            let numbers =
                |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let shapes: Vec<Vec<usize>> = all.tensors.iter().map(|t| t.dims().to_vec()).collect();
            (all.tensors.iter().map(numbers).collect::<Vec<_>>(), shapes, all.numbers)
        });
        for (tensors, shapes, numbers) in all {
            assert_eq!(tensors, [vec![3.0, 3.0, 6.0, 9.0], vec![3.0, 0.75], vec![30.0]]);
            assert_eq!(shapes, [vec![2, 2], vec![2], vec![1]]);
            assert_eq!(numbers, [3.0, 21.0]);
        }
    }

    #[test]
    fn a_rank_without_addends_or_with_others_is_told_to_all() {
        let none = Threads::run(2, |ranks| {
            let mine = (ranks.rank() == 0).then(|| sums(0));
            on_device(ranks.clone()).sum(mine).unwrap().is_none()
        });
        assert_eq!(none, [true, true]);
        let uneven = Threads::run(2, |ranks| {
            let mut mine = sums(0);
            mine.tensors.truncate(2 + ranks.rank());
            on_device(ranks.clone()).sum(Some(mine)).is_err()
        });
        assert_eq!(uneven, [true, true]);
    }
}
