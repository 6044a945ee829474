//! Pairs of two sets of points with the least sum of squared distances.

use ebm_core::candle::Tensor;
use ebm_core::host;
use ebm_core::{Result, flat_rows};

/// For each row of `from` `(n, ...)` the row of `to` `(n, ...)` that is paired with it, among so many neighbours of both.
///
/// # Errors
/// If the tensors cannot be read.
pub(super) fn nearest_pairs(from: &Tensor, to: &Tensor, among: usize) -> Result<Vec<u32>> {
    let host = |t: &Tensor| -> Result<Tensor> { Ok(host::wide(&flat_rows(t)?)?) };
    let (from, to) = (host(from)?, host(to)?);
    let n = from.dim(0)?;
    let mut pairs = Vec::with_capacity(n);
    for first in (0..n).step_by(among.max(1)) {
        let rows = among.min(n - first);
        // |a − b|² less what does not depend on the pairing.
        let costs = from.narrow(0, first, rows)?.matmul(&to.narrow(0, first, rows)?.t()?)?.neg()?;
        pairs.extend(assignment(&costs.to_vec2::<f64>()?).into_iter().map(|j| j + first as u32));
    }
    Ok(pairs)
}

/// The column of each row of a square matrix of finite costs, with the least sum: shortest augmenting paths (Jonker, Volgenant 1987), one row
/// after the other, in O(n³).
fn assignment(costs: &[Vec<f64>]) -> Vec<u32> {
    let n = costs.len();
    // Prices of rows and columns, and the row of each column; place 0 is the row that looks for a column.
    let (mut u, mut v, mut row_of) = (vec![0.0; n + 1], vec![0.0; n + 1], vec![0usize; n + 1]);
    for row in 1..=n {
        row_of[0] = row;
        let (mut column, mut least) = (0, vec![f64::INFINITY; n + 1]);
        let (mut seen, mut before) = (vec![false; n + 1], vec![0usize; n + 1]);
        while row_of[column] != 0 {
            seen[column] = true;
            let at = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in (1..=n).filter(|j| !seen[*j]) {
                let reduced = costs[at - 1][j - 1] - u[at] - v[j];
                if reduced < least[j] {
                    (least[j], before[j]) = (reduced, column);
                }
                if least[j] < step || next == 0 {
                    (step, next) = (least[j], j);
                }
            }
            for j in 0..=n {
                if seen[j] {
                    u[row_of[j]] += step;
                    v[j] -= step;
                } else {
                    least[j] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut pairs = vec![0; n];
    for (column, row) in row_of.iter().enumerate().skip(1) {
        pairs[row - 1] = column as u32 - 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::candle::{DType, Device};
    use ebm_core::{Chains, Key};

    use super::*;

    fn sum(costs: &[Vec<f64>], pairs: &[u32]) -> f64 {
        costs.iter().zip(pairs).map(|(row, j)| row[*j as usize]).sum()
    }

    /// The least sum over all permutations of the columns from `row` on.
    fn brute(costs: &[Vec<f64>], row: usize, taken: &mut Vec<usize>) -> f64 {
        if row == costs.len() {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for j in 0..costs.len() {
            if !taken.contains(&j) {
                taken.push(j);
                least = least.min(costs[row][j] + brute(costs, row + 1, taken));
                taken.pop();
            }
        }
        least
    }

    #[test]
    fn the_sum_is_the_least_of_all_pairings() {
        for seed in 0..20u64 {
            let n = 1 + seed as usize % 7;
            let t = Key::root(seed).normal(&Chains::range(0, n), &[n], DType::F64, &Device::Cpu).unwrap();
            let costs = t.to_vec2::<f64>().unwrap();
            let pairs = assignment(&costs);
            let mut columns = pairs.clone();
            columns.sort_unstable();
            assert_eq!(columns, (0..n as u32).collect::<Vec<_>>());
            let (found, want) = (sum(&costs, &pairs), brute(&costs, 0, &mut Vec::new()));
            assert!((found - want).abs() < 1e-12, "{found} {want}");
        }
    }

    #[test]
    fn points_are_paired_with_their_own_shifted_copies() {
        let a = Key::root(1).normal(&Chains::range(0, 40), &[2], DType::F32, &Device::Cpu).unwrap();
        let order: Vec<u32> = (0..40u32).map(|i| i * 7 % 40).collect();
        let b = a.index_select(&Tensor::new(order.clone(), &Device::Cpu).unwrap(), 0).unwrap();
        let pairs = nearest_pairs(&a, &b.affine(1.0, 3.0).unwrap(), 40).unwrap();
        assert!(pairs.iter().enumerate().all(|(i, j)| order[*j as usize] as usize == i), "{pairs:?}");
        let none = nearest_pairs(&a.narrow(0, 0, 0).unwrap(), &b.narrow(0, 0, 0).unwrap(), 40).unwrap();
        assert!(none.is_empty());
        // Each eight rows have partners among their own eight.
        let pairs = nearest_pairs(&a, &a.affine(-1.0, 0.0).unwrap(), 8).unwrap();
        assert!(pairs.iter().enumerate().all(|(i, j)| i / 8 == *j as usize / 8), "{pairs:?}");
        let mut columns = pairs.clone();
        columns.sort_unstable();
        assert_eq!(columns, (0..40).collect::<Vec<_>>());
    }
}
