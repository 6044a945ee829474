//! What a covariance says: its triangle, and whether its correlations are worth a dense metric.

/// Draws for each coordinate below which correlations are mostly those of chance.
const DRAWS: f64 = 10.0;
/// How much rounder than by chance a dense metric must make a target: steps in it are twice as long, and each costs more.
const ROUNDER: f64 = 4.0;
/// Of power iterations: twice as many change a condition by a few per cent.
const ITERATIONS: usize = 50;

/// The lower triangle `L` with `L Lᵀ = a` `(n, n)`, row by row, zeros above; none if it is not positive definite.
pub(super) fn cholesky(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            a[i * n + j] = match i == j {
                true if rest > 0.0 && rest.is_finite() => rest.sqrt(),
                true => return None,
                false => rest / a[j * n + j],
            };
        }
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    Some(a)
}

/// Whether the covariance of `draws` draws in `n` coordinates, of which `l` is the triangle, is to be taken as it is, and not its diagonal
/// alone: if the condition of its correlations is four times that which as many draws of independent coordinates have (Marchenko, Pastur
/// 1967), from ten draws a coordinate on.
pub(super) fn turned(draws: f64, l: &[f64], n: usize) -> bool {
    let share = n as f64 / draws;
    let chance = ((1.0 + share.sqrt()) / (1.0 - share.sqrt())).powi(2);
    share * DRAWS <= 1.0 && condition(l, n) > ROUNDER * chance
}

/// Condition of the correlations of `L Lᵀ`, at most a little too small.
fn condition(l: &[f64], n: usize) -> f64 {
    let row = |i: usize| &l[i * n..=i * n + i];
    let deviations: Vec<f64> = (0..n).map(|i| row(i).iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
    // Lᵀ v, and then L v, of v in units of the deviations.
    let largest = power(n, |v| {
        v.iter_mut().zip(&deviations).for_each(|(v, s)| *v /= s);
        let mut down = vec![0.0; n];
        for (i, v) in v.iter().enumerate() {
            down.iter_mut().zip(row(i)).for_each(|(d, l)| *d += l * v);
        }
        (0..n).map(|i| row(i).iter().zip(&down).map(|(l, d)| l * d).sum::<f64>() / deviations[i]).collect()
    });
    // The same backwards.
    let inverse_of_least = power(n, |v| {
        v.iter_mut().zip(&deviations).for_each(|(v, s)| *v *= s);
        for i in 0..n {
            let known: f64 = row(i).iter().zip(v.iter()).take(i).map(|(l, v)| l * v).sum();
            v[i] = (v[i] - known) / l[i * n + i];
        }
        for i in (0..n).rev() {
            v[i] /= l[i * n + i];
            let (before, after) = v.split_at_mut(i);
            before.iter_mut().zip(row(i)).for_each(|(v, l)| *v -= l * after[0]);
        }
        v.iter().zip(&deviations).map(|(v, s)| v * s).collect()
    });
    largest * inverse_of_least
}

/// The largest eigenvalue of a symmetric positive map.
fn power(n: usize, map: impl Fn(&mut [f64]) -> Vec<f64>) -> f64 {
    // Along no axis, and not the same in all coordinates.
    let mut v: Vec<f64> = (0..n).map(|i| ((i * 37 + 11) % 64) as f64 / 64.0 - 0.4).collect();
    let mut length = 1.0;
    for _ in 0..ITERATIONS {
        v.iter_mut().for_each(|v| *v /= length);
        v = map(&mut v);
        length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    }
    length
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Correlation ρ of two of three coordinates has the condition (1 + ρ)/(1 − ρ), whatever their deviations.
    #[test]
    fn the_condition_is_that_of_the_correlations() {
        let c = 0.8 * 3.0 * 0.05;
        let l = cholesky(vec![9.0, c, 0.0, c, 0.0025, 0.0, 0.0, 0.0, 700.0], 3).unwrap();
        assert!((condition(&l, 3) / 9.0 - 1.0).abs() < 1e-9, "{}", condition(&l, 3));
        assert!(turned(1e6, &l, 3) && !turned(29.0, &l, 3), "ten draws a coordinate");
        let l = cholesky(vec![9.0, 0.5 * c, 0.5 * c, 0.0025], 2).unwrap();
        assert!(!turned(1e6, &l, 2), "a condition of 2.3 makes steps half as long again");
    }

    #[test]
    fn what_is_not_positive_has_no_triangle() {
        assert!(cholesky(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(cholesky(vec![f64::NAN], 1).is_none());
    }
}
