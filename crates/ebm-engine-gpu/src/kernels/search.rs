//! Nearest rows: all distances by tiles, then the k-th smallest of each row.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{Nearest, SearchOps};

use super::args::{count, threads_for};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

impl<L: Launcher> SearchOps for Kernels<L> {
    fn nearest(&self, x: &Tensor, bank: &Tensor, k: usize, exclude: f64) -> Result<Option<Nearest>> {
        let ((n, width), (m, other)) = (x.dims2()?, bank.dims2()?);
        let single = [x, bank].into_iter().all(|t| t.dtype() == DType::F32);
        let counts = (count(n), count(m), count(width), count(k));
        let (Some(rows), Some(many), Some(columns), Some(which)) = counts else { return Ok(None) };
        if !single || width != other || n == 0 || m == 0 || k == 0 {
            return Ok(None);
        }
        let (x, bank, device) = (whole(x)?, whole(bank)?, x.device());
        let all = self.empty(&[n, m], device)?;
        let across = m.div_ceil(16);
        let mut args: Vec<Arg<'_>> = vec![rows.into(), many.into(), columns.into(), (across as u32).into()];
        args.extend([Arg::In(&x), Arg::In(&bank), Arg::Out(&all)]);
        // SAFETY: the shapes are those of the tensors; 16 × 16 threads, a tile a block.
        unsafe { self.launch("row_distances", n.div_ceil(16) * across, 256, &args)? };
        let distance = self.empty(&[n], device)?;
        // SAFETY: the kernel writes all entries.
        let whole_numbers = || unsafe { Tensor::empty(n, DType::U32, device) };
        let (row, counted) = (whole_numbers()?, whole_numbers()?);
        let mut args: Vec<Arg<'_>> = vec![many.into(), which.into(), exclude.into(), Arg::In(&all)];
        args.extend([&distance, &row, &counted].map(Arg::Out));
        // SAFETY: n rows of m distances, a block each, and n places in each result.
        unsafe { self.launch("kth_smallest", n, threads_for(m), &args)? };
        Ok(Some(Nearest { distance, row, counted }))
    }
}
