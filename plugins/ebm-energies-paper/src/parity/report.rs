//! Rows of a comparison and how they are collected.

use ebm_core::candle::DType;

use super::Mode;

/// One compared quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was compared, such as `grad.kl at golden x_hat`.
    pub quantity: String,
    /// Deviation, in the measure of the quantity.
    pub error: f64,
    /// Largest deviation that passes.
    pub tolerance: f64,
    /// Whether it does.
    pub pass: bool,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.pass { "ok  " } else { "FAIL" };
        write!(f, "{verdict} {:<44} {:.2e} (allowed {:.1e})", self.quantity, self.error, self.tolerance)
    }
}

/// Collects rows under the tolerances of one number type.
pub(crate) struct Report {
    double: bool,
    /// Factor of single-precision tolerances.
    slack: f64,
    rows: Vec<Row>,
}

/// What double precision must reach; the limit is that goldens are stored in f32.
const DOUBLE: f64 = 1e-6;

impl Report {
    pub fn new(mode: &Mode) -> Self {
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
        self.rows.push(Row { quantity: quantity.into(), error, tolerance, pass });
    }

    /// A remark as a row that passes.
    pub fn note(&mut self, text: String) {
        self.rows.push(Row { quantity: text, error: 0.0, tolerance: 0.0, pass: true });
    }

    pub fn rows(self) -> Vec<Row> {
        self.rows
    }
}
