//! The numbers of a sum in one piece for each type, in buffers that are used again every step: fresh memory of this size
//! costs more than the addition.

use std::ops::AddAssign;

use ebm_core::{Result, Sums};

/// Numbers of one type, and room for the parts of other ranks.
#[derive(Debug, Default)]
pub(crate) struct Buffer<T> {
    pub all: Vec<T>,
    pub parts: Vec<T>,
}

/// Numbers by type.
#[derive(Debug, Default)]
pub(crate) struct Floats {
    pub narrow: Buffer<f32>,
    pub wide: Buffer<f64>,
}

impl Floats {
    /// Takes up the numbers of `sums`.
    pub fn pour(&mut self, sums: &Sums) -> Result<()> {
        self.narrow.all.clear();
        self.wide.all.clear();
        sums.pour(&mut self.narrow.all, &mut self.wide.all)
    }

    /// The numbers in the shapes and types of `form`.
    pub fn like(&self, form: &Sums) -> Result<Sums> {
        form.with_poured(&self.narrow.all, &self.wide.all)
    }
}

/// Adds `size` parts of length `n`, laid end to end, into the first, in the order of [`ebm_core::tree`].
pub(crate) fn add<T: Copy + AddAssign>(parts: &mut [T], n: usize, size: usize) {
    let mut step = 1;
    while step < size {
        for i in (0..size - step).step_by(2 * step) {
            let (own, other) = parts.split_at_mut((i + step) * n);
            own[i * n..(i + 1) * n].iter_mut().zip(&other[..n]).for_each(|(a, b)| *a += *b);
        }
        step *= 2;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{Device, Tensor};

    use super::*;

    #[test]
    fn the_order_is_that_of_the_tree() {
        for size in 1..=9 {
            // Numbers whose sum depends on the order.
            let of = |rank: usize, i: usize| (1.0 + i as f32) * 0.1 * 3f32.powi(rank as i32 % 5) * 1.7;
            let mut parts: Vec<f32> = (0..size).flat_map(|r| (0..3).map(move |i| of(r, i))).collect();
            let rows: Vec<Vec<f32>> = parts.chunks(3).map(<[f32]>::to_vec).collect();
            let want = ebm_core::tree(rows, |a, b| {
                Ok::<_, ebm_core::Error>(a.iter().zip(&b).map(|(a, b)| a + b).collect())
            });
            add(&mut parts, 3, size);
            assert_eq!(parts[..3], want.unwrap().unwrap(), "{size} ranks");
        }
    }

    #[test]
    fn numbers_come_back_in_their_shapes() {
        let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let turned = x.t().unwrap();
        let wide = Tensor::new(&[0.5f64, 2.0], &Device::Cpu).unwrap();
        let sums = Sums { tensors: vec![turned.clone(), wide.clone(), x.clone()], numbers: vec![7.0] };
        let mut floats = Floats::default();
        floats.pour(&sums).unwrap();
        let back = floats.like(&sums).unwrap();
        assert_eq!(back.tensors[0].to_vec2::<f32>().unwrap(), turned.to_vec2::<f32>().unwrap());
        assert_eq!(back.tensors[1].to_vec1::<f64>().unwrap(), wide.to_vec1::<f64>().unwrap());
        assert_eq!(back.tensors[2].to_vec2::<f32>().unwrap(), x.to_vec2::<f32>().unwrap());
        assert_eq!(back.numbers, [7.0]);
    }
}
