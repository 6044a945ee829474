//! Rows of a comparison and how they are collected.

use ebm_core::candle::DType;
use ebm_exchange::{CompareMode, Quantity};

/// Collects rows under the tolerances of one number type.
pub(crate) struct Report {
    double: bool,
    /// Factor of single-precision tolerances.
    slack: f64,
    rows: Vec<Quantity>,
}

/// What double precision must reach; the limit is that goldens are stored in f32.
const DOUBLE: f64 = 1e-6;

impl Report {
    pub fn new(mode: &CompareMode) -> Self {
        let slack = if mode.engine.is_some() { 2.0 } else { 1.0 };
        Report { double: mode.dtype == DType::F64, slack, rows: Vec::new() }
    }

    /// A quantity with the tolerance `single` of an f32 program.
    pub fn add(&mut self, quantity: impl Into<String>, error: f64, single: f64) {
        self.add_with(quantity, error, single, DOUBLE);
    }

    /// A quantity with a tolerance for each number type.
    pub fn add_with(&mut self, quantity: impl Into<String>, error: f64, single: f64, double: f64) {
        let tolerance = if self.double { double } else { self.slack * single };
        // A NaN compares false: it never passes.
        let pass = error <= tolerance;
        self.rows.push(Quantity { quantity: quantity.into(), error, tolerance, pass });
    }

    pub fn rows(self) -> Vec<Quantity> {
        self.rows
    }
}
