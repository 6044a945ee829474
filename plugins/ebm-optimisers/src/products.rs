//! Products of tables, of which SOAP takes six for a matrix and update. On the processor faer makes them: it knows instructions of 512 bits,
//! for which candle's product needs an unstable compiler, and takes half the time where there are any.

use ebm_core::Result;
use ebm_core::candle::{Device, Tensor, WithDType};
use ebm_core::host::on_slice;
use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef};

/// `a · b` of `(m, k)` and `(k, n)`, either also as the view that transposes a table. The same bits on any number of threads.
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match near(a, b, None)? {
        Some(product) => Ok(product),
        None => Ok(a.matmul(b)?),
    }
}

/// `share · a · b + keep · onto`, in the pass of the product.
pub(crate) fn product_onto(onto: &Tensor, keep: f64, a: &Tensor, b: &Tensor, share: f64) -> Result<Tensor> {
    match near(a, b, Some(Onto { table: onto, keep, share }))? {
        Some(sum) => Ok(sum),
        None => Ok((scaled(onto, keep)? + scaled(&a.matmul(b)?, share)?)?),
    }
}

/// A factor of 1 is no work.
fn scaled(t: &Tensor, factor: f64) -> Result<Tensor> {
    Ok(if factor == 1.0 { t.clone() } else { t.affine(factor, 0.0)? })
}

/// Either, if all lie on the processor in one precision and their sides fit; the caller's own operations tell more of what does not.
fn near(a: &Tensor, b: &Tensor, onto: Option<Onto<'_>>) -> Result<Option<Tensor>> {
    let ((rows, inner), (inner_of_b, columns)) = (a.dims2()?, b.dims2()?);
    let alike = |onto: &Onto<'_>| onto.table.dims() == [rows, columns] && onto.table.dtype() == a.dtype();
    if inner != inner_of_b || !onto.as_ref().is_none_or(alike) {
        return Ok(None);
    }
    let (left, right) = (Table::of(a)?, Table::of(b)?);
    let sum = on_slice(
        &left.rows,
        |x| on_slice(&right.rows, |y| Some(times(left.view(x), right.view(y), onto)), |_| None).flatten(),
        |x| on_slice(&right.rows, |_| None, |y| Some(times(left.view(x), right.view(y), onto))).flatten(),
    );
    sum.flatten().transpose()
}

/// What a product is added to: `share · product + keep · table`.
#[derive(Clone, Copy)]
struct Onto<'a> {
    table: &'a Tensor,
    keep: f64,
    share: f64,
}

/// A table whose rows, or columns, lie one after another.
struct Table {
    /// It, or what it transposes.
    rows: Tensor,
    transposed: bool,
    dims: (usize, usize),
}

impl Table {
    fn of(t: &Tensor) -> Result<Table> {
        let (rows, columns) = t.dims2()?;
        let turned = t.t()?;
        let transposed = !t.is_contiguous() && turned.is_contiguous();
        let (rows, dims) =
            if transposed { (turned, (columns, rows)) } else { (t.contiguous()?, (rows, columns)) };
        Ok(Table { rows, transposed, dims })
    }

    fn view<'a, T>(&self, values: &'a [T]) -> MatRef<'a, T> {
        let view = MatRef::from_row_major_slice(values, self.dims.0, self.dims.1);
        if self.transposed { view.transpose() } else { view }
    }
}

/// The product of tables whose sides fit.
fn times<T: WithDType + ComplexField>(
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    onto: Option<Onto<'_>>,
) -> Result<Tensor> {
    let dims = (a.nrows(), b.ncols());
    let (mut values, accum, share) = match onto {
        None => (vec![T::zero(); dims.0 * dims.1], Accum::Replace, T::one_impl()),
        Some(Onto { table, keep, share }) => {
            let mut values = table.flatten_all()?.to_vec1::<T>()?;
            let keep = T::from_f64(keep);
            values.iter_mut().for_each(|v| *v *= keep);
            (values, Accum::Add, T::from_f64(share))
        }
    };
    let product = MatMut::from_row_major_slice_mut(&mut values, dims.0, dims.1);
    matmul(product, accum, a, b, share, faer::get_global_parallelism());
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::DType;

    use super::*;

    fn some(rows: usize, columns: usize, phase: f64) -> Tensor {
        let v = (0..rows * columns).map(|k| (phase + 0.7 * k as f64).sin()).collect();
        Tensor::from_vec::<_, f64>(v, (rows, columns), &Device::Cpu).unwrap()
    }

    /// Views, both precisions, against sums taken one by one.
    #[test]
    fn is_the_product() {
        let (m, k, n) = (5, 37, 19);
        for dtype in [DType::F32, DType::F64] {
            let (a, b) = (some(m, k, 0.1).to_dtype(dtype).unwrap(), some(k, n, 0.2).to_dtype(dtype).unwrap());
            let turned = |t: &Tensor| t.t().unwrap().contiguous().unwrap().t().unwrap();
            let (x, y) = (ebm_core::host::numbers(&a).unwrap(), ebm_core::host::numbers(&b).unwrap());
            let want = |i: usize, j: usize| (0..k).map(|l| x[i * k + l] * y[l * n + j]).sum::<f64>();
            for (a, b) in [(&a, &b), (&turned(&a), &b), (&a, &turned(&b)), (&turned(&a), &turned(&b))] {
                let found = ebm_core::host::numbers(&product(a, b).unwrap()).unwrap();
                // 37 terms below 1: rounding of some 37 · 2⁻²⁴, and 2⁻⁵³.
                let bound = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
                let worst = (0..m * n).map(|p| (found[p] - want(p / n, p % n)).abs()).fold(0.0, f64::max);
                assert!(worst < bound, "{dtype:?}: {worst}");
            }
        }
        assert!(product(&some(3, 4, 0.0), &some(3, 4, 0.0)).is_err());
    }

    #[test]
    fn is_added_to_a_share_of_a_table() {
        let (a, b, onto) = (some(5, 37, 0.1), some(37, 19, 0.2), some(5, 19, 0.3));
        let want = ((&onto * 0.9).unwrap() + (a.matmul(&b).unwrap() * 0.25).unwrap()).unwrap();
        let found = product_onto(&onto, 0.9, &a, &b, 0.25).unwrap();
        let away = (found - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(away < 1e-14, "{away}");
    }

    /// Sides that no block divides, large enough for many threads to share.
    #[test]
    fn has_the_same_bits_on_any_number_of_threads() {
        let a = some(389, 517, 0.3).to_dtype(DType::F32).unwrap();
        let b = some(517, 451, 0.4).to_dtype(DType::F32).unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let values =
                pool.install(|| product(&a, &b).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap());
            values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = on(1);
        for threads in [2, 3, 5, 8] {
            assert!(on(threads) == one, "{threads} threads");
        }
    }
}
