//! Mean and deviation of training values, by which numbers are standardised.

use ebm_core::{BuildCx, Cells, Column, Columns, Result, Settings};
use ebm_data::ArraySet;

use crate::data_error;

/// An axis of a sample, whose entries are standardised each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum Axis {
    /// Columns (N, D), channels of series (N, C, T).
    First,
    /// Columns (N, D), coordinates of points (N, P, D).
    Last,
}

/// The cells that standardise these values to mean 0 and deviation 1 (of the population, as scikit-learn's `StandardScaler`).
///
/// # Errors
/// In words, if there is no value, all are one value, or their squares are beyond what a number holds.
pub(crate) fn standard(values: impl Iterator<Item = f64> + Clone) -> std::result::Result<Cells, String> {
    let (mut n, mut sum, mut low, mut high) = (0u64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for v in values.clone() {
        n += 1;
        sum += v;
        (low, high) = (low.min(v), high.max(v));
    }
    if n == 0 {
        return Err("has no training row".into());
    }
    if low == high {
        return Err(format!(
            "is constant: all {n} training rows hold {low}, and have no deviation to divide by; leave it out, or set standardise to false"
        ));
    }
    let centre = sum / n as f64;
    let spread = (values.map(|v| (v - centre).powi(2)).sum::<f64>() / n as f64).sqrt();
    if !(spread > 0.0 && spread.is_finite()) {
        return Err(format!(
            "has values from {low:?} to {high:?}, of which no deviation can be taken: scale them"
        ));
    }
    Ok(Cells::Numbers { centre, spread })
}

/// The columns of training samples along an axis, called by their number.
pub(crate) fn along(cx: &BuildCx, axis: Axis, train: &ArraySet) -> Result<Columns> {
    let sample = &train.dims()[1..];
    let (width, each) = match axis {
        Axis::First => (sample.first().copied().unwrap_or(1), sample.iter().skip(1).product()),
        Axis::Last => (sample.last().copied().unwrap_or(1), 1),
    };
    let column = |at: usize| {
        let values = train.values().iter().enumerate().filter(|(i, _)| i / each % width == at);
        let cells = standard(values.map(|(_, v)| f64::from(*v)));
        let refuse = |why| cx.refuse("standardise", format!("of entry {at} (from 0) {why}"));
        Ok(Column { name: at.to_string(), cells: cells.map_err(refuse)? })
    };
    Ok(Columns::new((0..width).map(column).collect::<Result<_>>()?, each))
}

/// An array in the numbers that stand for its own.
pub(crate) fn known(columns: &Columns, set: ArraySet) -> Result<ArraySet> {
    let dims = set.dims().to_vec();
    let mut values = set.into_values();
    columns.from_own(&mut values);
    ArraySet::new(values, dims).map_err(data_error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    use super::*;

    #[test]
    fn numbers_are_those_of_the_population_and_constants_are_refused() {
        let of = |v: &[f64]| standard(v.iter().copied());
        assert_eq!(of(&[1.0, 3.0, 5.0, 7.0]).unwrap(), Cells::Numbers { centre: 4.0, spread: 5f64.sqrt() });
        // A mean that is rounded leaves distances of a last bit, which are no deviation.
        let text = of(&[0.1; 10]).unwrap_err();
        assert!(text.contains("constant") && text.contains("0.1"), "{text}");
        assert!(of(&[]).is_err() && of(&[-1e300, 1e300]).is_err());
    }

    #[test]
    fn arrays_are_standardised_along_an_axis_and_come_back() {
        let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        let own: Vec<f32> = (0..24).map(|i| (i * i % 17) as f32 + 10.0 * (i / 3 % 2) as f32).collect();
        let set = ArraySet::new(own.clone(), vec![4, 2, 3]).unwrap();
        for (axis, width, each) in [(Axis::First, 2, 3), (Axis::Last, 3, 1)] {
            let columns = along(&cx, axis, &set).unwrap();
            assert_eq!((columns.width(), columns.each()), (width, each));
            let mut values = known(&columns, set.clone()).unwrap().into_values();
            for at in 0..width {
                let all = values.iter().enumerate().filter(|(i, _)| i / each % width == at);
                let all: Vec<f64> = all.map(|(_, v)| f64::from(*v)).collect();
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64;
                // Values are rounded to single precision.
                assert!(
                    mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5,
                    "{axis:?} {at}: {mean} {variance}"
                );
            }
            columns.to_own(&mut values);
            assert!(values.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        let constant = ArraySet::new(vec![1.0, 5.0, 2.0, 5.0], vec![2, 2]).unwrap();
        let text = along(&cx, Axis::Last, &constant).unwrap_err().to_string();
        assert!(
            text.contains("data.standardise") && text.contains("entry 1") && text.contains("constant"),
            "{text}"
        );
    }
}
