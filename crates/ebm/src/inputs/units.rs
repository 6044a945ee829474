//! Whether the numbers of a set are in the units that a model knows.

use std::path::Path;

use ebm_core::Domain;
use ebm_model::Facts;

use crate::error::Result;

/// The values that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    low: f64,
    high: f64,
    levels: Option<u32>,
}

/// Share of the width that values may lie beyond both ends, and of the values that may lie beyond that.
const BESIDE: f64 = 0.1;
const STRAY: f64 = 0.05;

impl Units {
    /// Those of the data whose facts these are; `None` if they are not known.
    pub fn of(facts: &Facts) -> Option<Self> {
        Units::new(facts.range.or(facts.seen)?, facts.levels)
    }

    /// Of values in a range, with so many grey levels if they are images; `None` of a single value.
    pub(crate) fn new((low, high): (f64, f64), levels: Option<u32>) -> Option<Self> {
        (low < high).then_some(Units { low, high, levels })
    }

    /// Whether the training samples were images of so many grey levels.
    pub fn of_images(self) -> bool {
        self.levels.is_some()
    }

    /// Number of levels of bytes up to `most` as images: 2 of bytes that are 0 and 1, as training sees them; those that the model was
    /// trained on, if they are fewer than 256 and hold all bytes; else 256.
    pub fn levels_of(most: u8, units: Option<Units>) -> u32 {
        match units.and_then(|units| units.levels) {
            _ if most == 1 => 2,
            Some(own) if own < 256 && u32::from(most) < own => own,
            _ => 256,
        }
    }
}

/// What was seen of a set.
#[derive(Debug)]
pub(super) struct Tally {
    units: Option<Units>,
    all: usize,
    outside: usize,
    low: f64,
    high: f64,
    levels: Option<u32>,
    astray: usize,
    domain: Domain,
}

impl Tally {
    pub(super) fn new(units: Option<Units>) -> Self {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        Tally { units, all: 0, outside: 0, low, high, levels: None, astray: 0, domain: Domain::Real }
    }

    /// Counts values that are none of the energy's domain.
    pub(super) fn astray(&mut self, values: usize, domain: Domain) {
        self.astray += values;
        self.domain = domain;
    }

    /// Sees some values.
    ///
    /// # Errors
    /// If they are bytes as numbers where the model's data are in [0, 1]: no measure of such would mean anything.
    pub(super) fn see(&mut self, values: &[f64], levels: Option<u32>, place: &Path) -> Result<()> {
        let Some(units) = self.units else { return Ok(()) };
        let width = units.high - units.low;
        let ends = (units.low - BESIDE * width, units.high + BESIDE * width);
        let (low, high, outside) = ebm_data::passes::extent(values, ends);
        self.outside += outside;
        (self.low, self.high) = (self.low.min(low), self.high.max(high));
        self.all += values.len();
        self.levels = self.levels.or(levels);
        let bytes = self.low >= 0.0 && (16.0..256.0).contains(&self.high);
        if levels.is_none() && bytes && units.low >= 0.0 && units.high <= 1.0 {
            let message = format!(
                "holds numbers up to {}, and the model was trained on values in [{:?}, {:?}]: divide them by 255, or store them as \
                 unsigned bytes",
                self.high as f32, units.low, units.high
            );
            return Err(ebm_core::Error::data(place, message).into());
        }
        Ok(())
    }

    /// What is to be said of the whole set.
    pub(super) fn remark(&self) -> Option<String> {
        if self.astray > 0 {
            return Some(format!(
                "{} values are none of this energy's samples, {}: at such it is that of its relaxation to real numbers",
                self.astray, self.domain
            ));
        }
        let units = self.units?;
        let share = self.outside as f64 / self.all.max(1) as f64;
        if share > STRAY {
            return Some(format!(
                "{:.0} % of the values lie outside of those that the model was trained on, [{:?}, {:?}]; they are in [{:?}, {:?}]. If \
                 this is not meant, scale them",
                100.0 * share,
                units.low,
                units.high,
                self.low as f32,
                self.high as f32
            ));
        }
        match (units.levels, self.levels) {
            (Some(own), Some(2)) if own > 2 => Some(format!(
                "all bytes are 0 or 1, so they stand for two levels, 0.25 and 0.75; the model was trained on {own} levels. If this is \
                 not meant, multiply them by 255"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tally(range: Option<(f64, f64)>, seen: Option<(f64, f64)>, levels: Option<u32>) -> Tally {
        Tally::new(Units::of(&Facts { range, seen, levels, ..Facts::default() }))
    }

    #[test]
    fn bytes_have_the_levels_of_the_model_where_these_hold_them() {
        let of = |levels| Units::new((0.0, 1.0), levels);
        for (most, own, wanted) in [
            (15, Some(16), 16),
            (16, Some(16), 256),
            (1, Some(16), 2),
            (0, Some(16), 16),
            (1, Some(256), 2),
            (0, None, 256),
            (1, None, 2),
            (2, Some(2), 256),
            (255, Some(256), 256),
        ] {
            assert_eq!(Units::levels_of(most, of(own)), wanted, "{most} {own:?}");
        }
    }

    #[test]
    fn bytes_as_numbers_are_refused_and_other_units_remarked_upon() {
        let images = || tally(Some((0.0, 1.0)), None, Some(256));
        let see = |mut t: Tally, values: &[f64], levels| -> std::result::Result<Option<String>, String> {
            t.see(values, levels, Path::new("a.npy")).map_err(|e| e.to_string())?;
            Ok(t.remark())
        };
        let text = see(images(), &[0.0, 17.0, 254.0], None).unwrap_err();
        assert!(
            text.contains("a.npy") && text.contains("up to 254") && text.contains("divide them by 255"),
            "{text}"
        );
        assert_eq!(see(images(), &[0.1, 0.9, 1.05, -0.05], Some(256)), Ok(None));
        let text = see(images(), &[-1.0, 1.0, 0.5], None).unwrap().unwrap();
        assert!(
            text.contains("33 %") && text.contains("[0.0, 1.0]") && text.contains("[-1.0, 1.0]"),
            "{text}"
        );
        let text = see(images(), &[0.25, 0.75], Some(2)).unwrap().unwrap();
        assert!(text.contains("0.25 and 0.75"), "{text}");
        // Standardised numbers, of which only the ends are known; any number may come.
        let points = || tally(None, Some((-2.0, 2.0)), None);
        assert_eq!(see(points(), &[-2.3, 2.3, 0.0], None), Ok(None));
        assert!(see(points(), &[30.0, 200.0], None).unwrap().is_some());
        assert_eq!(see(tally(None, None, None), &[1e9], None), Ok(None));
    }
}
