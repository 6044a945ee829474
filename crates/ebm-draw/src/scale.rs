//! How values become heights: scales, the part of the values an axis shows, round marks and their names.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Values looked at to find the range of an axis; more are passed over evenly.
const LOOKED_AT: usize = 100_000;
/// One in so many values at either end may lie beyond an axis.
const TRIMMED: usize = 50;
/// Beyond the others' range by more than this share of it, such a value does lie beyond.
const ROOM: f64 = 0.35;
/// Positive values of which the largest is so many times the smallest are shown by their logarithm.
const DECADES: f64 = 50.0;
/// Values of both signs so many times as large as half of them are, too.
const TAILS: f64 = 100.0;

/// How values become heights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scale {
    /// Whichever of the others the values ask for.
    #[default]
    Fitting,
    /// As they are.
    Linear,
    /// By their logarithm; values that are not above 0 are left out.
    Log,
    /// Linear up to about this size, then by the logarithm, both signs.
    SymLog(f64),
}

impl Scale {
    /// The height of a value in the scale's own units; `None` of what it cannot show.
    pub(crate) fn height(self, v: f64) -> Option<f64> {
        match self {
            Scale::Fitting | Scale::Linear => v.is_finite().then_some(v),
            Scale::Log => (v > 0.0 && v.is_finite()).then(|| v.log10()),
            Scale::SymLog(t) => v.is_finite().then(|| v.signum() * (1.0 + v.abs() / t).log10()),
        }
    }

    /// The value of a height.
    fn value(self, height: f64) -> f64 {
        match self {
            Scale::Fitting | Scale::Linear => height,
            Scale::Log => 10f64.powf(height),
            Scale::SymLog(t) => height.signum() * (10f64.powf(height.abs()) - 1.0) * t,
        }
    }

    /// Itself, or the one that sorted finite values ask for.
    fn fitting(self, sorted: &[f64]) -> Scale {
        if self != Scale::Fitting || sorted.is_empty() {
            return self;
        }
        let (low, high) = trimmed(sorted);
        let mut sizes: Vec<f64> = sorted.iter().map(|v| v.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let middle = sizes[sizes.len() / 2];
        match () {
            () if sorted[0] > 0.0 && high / low > DECADES => Scale::Log,
            () if middle > 0.0 && low.abs().max(high.abs()) / middle > TAILS => {
                Scale::SymLog(10f64.powf(middle.log10().floor()))
            }
            () => Scale::Linear,
        }
    }

    /// Values worth a mark between two heights, about `most` of them.
    fn marks(self, low: f64, high: f64, most: usize) -> Vec<f64> {
        let inside = |v: &f64| self.height(*v).is_some_and(|h| h >= low && h <= high);
        let powers = |mantissas: &'static [f64]| {
            (-30..=30).flat_map(move |e| mantissas.iter().map(move |m| m * 10f64.powi(e)))
        };
        let all: Vec<f64> = match self {
            Scale::Fitting | Scale::Linear => return nice(low, high, most),
            Scale::Log if high - low < 2.0 => powers(&[1.0, 2.0, 5.0]).filter(inside).collect(),
            Scale::Log => powers(&[1.0]).filter(inside).collect(),
            Scale::SymLog(t) => {
                let sizes: Vec<f64> = powers(&[1.0]).filter(|v| *v >= t * 0.999).collect();
                let below = sizes.iter().rev().map(|v| -v);
                below.chain([0.0]).chain(sizes.iter().copied()).filter(inside).collect()
            }
        };
        if all.len() < 2 {
            return nice(self.value(low), self.value(high), most).into_iter().filter(inside).collect();
        }
        // Powers are few and their names short: a few more have room.
        let every = all.len().div_ceil(most + 2).max(1);
        let zero = all.iter().position(|v| *v == 0.0).unwrap_or(0) % every;
        all.into_iter().skip(zero).step_by(every).collect()
    }
}

/// The ends of sorted values without the outermost fiftieth, or the outermost one of ten, at either end.
fn trimmed(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len();
    let off = (n / TRIMMED).max(usize::from(n >= 10)).min((n - 1) / 2);
    (sorted[off], sorted[n - 1 - off])
}

/// About `most` round numbers between two.
pub(crate) fn nice(low: f64, high: f64, most: usize) -> Vec<f64> {
    let raw = (high - low).max(1e-300) / most.max(1) as f64;
    let unit = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * unit).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil();
    (0..2 * most.max(1) + 2).map(|i| (first + i as f64) * step).take_while(|v| *v <= high).collect()
}

/// One axis: its scale and the heights between its ends.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    /// The axis of the scale's choice that shows these values but for a few far from all others, with a margin.
    pub fn of(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let every = values.clone().count().div_ceil(LOOKED_AT).max(1);
        let sorted = |scale: Scale| {
            let mut all: Vec<f64> = values.clone().step_by(every).filter_map(|v| scale.height(v)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let plain = sorted(Scale::Linear);
        let scale = scale.fitting(&plain);
        let heights = if scale == Scale::Linear { plain } else { sorted(scale) };
        let (Some(least), Some(most)) = (heights.first(), heights.last()) else {
            return Axis::between(scale, 0.0, 1.0);
        };
        let (low, high) = trimmed(&heights);
        // Half the range each, as the whole of it may be more than a number can hold.
        let room = 2.0 * ROOM * (high / 2.0 - low / 2.0);
        let (low, high) = match room > 0.0 {
            true => (least.max(low - room), most.min(high + room)),
            // All but a few are one number: there is no range that the few could be beyond of.
            false => (*least, *most),
        };
        let bounded = |v: f64| v.clamp(-1e300, 1e300);
        let (low, high) = (bounded(low), bounded(high));
        let margin = match high - low {
            // A level line lies in the middle of values about as large.
            span if span <= 1e-12 * low.abs().max(high.abs()) => {
                if low == 0.0 {
                    1.0
                } else {
                    0.2 * low.abs()
                }
            }
            span => 0.05 * span,
        };
        Axis::between(scale, low - margin, high + margin)
    }

    /// The axis between two heights.
    pub fn between(scale: Scale, low: f64, high: f64) -> Self {
        Axis { scale, low, high }
    }

    /// The height of a value as far as the axis reaches; how far beyond it lies is `Some` of below or above.
    pub fn clip(&self, v: f64) -> Option<(f64, Option<std::cmp::Ordering>)> {
        use std::cmp::Ordering::{Greater, Less};
        let height = self.scale.height(v)?;
        let beyond = if height < self.low { Some(Less) } else { (height > self.high).then_some(Greater) };
        Some((height.clamp(self.low, self.high), beyond))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, height: &f64, (from, to): (i32, i32)) -> i32 {
        let span = self.high - self.low;
        let share = if span > 0.0 { (height - self.low) / span } else { 0.5 };
        from + (f64::from(to - from) * share.clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        let marks = self.scale.marks(self.low, self.high, hint.bold_points());
        marks.into_iter().filter_map(|v| self.scale.height(v)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, height: &f64) -> String {
        number(self.scale.value(*height))
    }
}

/// A number as papers print it: six digits at most, powers of ten where that is shorter, groups of three.
pub fn number(v: f64) -> String {
    if !v.is_finite() {
        return if v.is_nan() { "none".into() } else { format!("{}∞", if v < 0.0 { "−" } else { "" }) };
    }
    let sign = if v < 0.0 { "−" } else { "" };
    // Six digits of it, before it is asked how large it is.
    let size = format!("{:.5e}", v.abs()).parse().unwrap_or(v.abs());
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{size:.3e}");
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        let power: String = power.chars().map(raised).collect();
        return match mantissa {
            "1" => format!("{sign}10{power}"),
            _ => format!("{sign}{mantissa}·10{power}"),
        };
    }
    let digits = if size >= 1.0 { 5usize.saturating_sub(size.log10() as usize) } else { 7 };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    match whole.len() {
        5.. => format!("{sign}{},{}{rest}", &whole[..whole.len() - 3], &whole[whole.len() - 3..]),
        _ => format!("{sign}{text}"),
    }
}

/// A digit or sign of a power.
fn raised(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32(0x2070 + u32::from(c) - u32::from('0')).unwrap_or(c),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(values: &[f64]) -> Axis {
        Axis::of(Scale::Fitting, values.iter().copied())
    }

    #[test]
    fn marks_are_round_and_inside() {
        assert_eq!(nice(0.0, 100.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::Log.marks(-2.5, 1.2, 8), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!(Scale::Log.marks(1.2, 2.4, 8), [20.0, 50.0, 100.0, 200.0]);
        let sym = Scale::SymLog(0.1);
        assert_eq!(sym.marks(-1.3, 2.2, 8), [-1.0, -0.1, 0.0, 0.1, 1.0, 10.0]);
        assert_eq!((sym.height(0.0), Scale::Log.height(-1.0), sym.height(f64::NAN)), (Some(0.0), None, None));
        assert!(Scale::Linear.marks(1.0, 1.0 + 1e-9, 5).len() < 12);
        for scale in [Scale::Linear, Scale::Log, sym] {
            let back = scale.value(scale.height(7.25).unwrap_or(0.0));
            assert!((back - 7.25).abs() < 1e-12, "{scale:?}: {back}");
        }
    }

    #[test]
    fn a_first_spike_does_not_rule_the_axis() {
        let mut values: Vec<f64> = (0..200).map(|i| (f64::from(i) * 0.1).sin()).collect();
        values[0] = 1e6;
        let a = axis(&values);
        assert_eq!(a.scale, Scale::Linear);
        assert!(a.range().start > -1.3 && a.range().end < 2.0, "{a:?}");
        assert_eq!(a.clip(1e6).and_then(|c| c.1), Some(std::cmp::Ordering::Greater));
        assert_eq!(a.clip(0.5), Some((0.5, None)));
        // A line that only rises is shown whole.
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(axis(&rising).range().start < 0.0 && axis(&rising).range().end > 19.0);
        // So are a few that are all there is to see.
        let mut steps = vec![0.0; 300];
        steps[299] = 5.0;
        assert!(axis(&steps).range().end > 5.0);
        // A level line has numbers beside it that can be told apart.
        assert_eq!((axis(&[8.0; 30]).range(), axis(&[0.0; 30]).range()), (6.4..9.6, -1.0..1.0));
    }

    #[test]
    fn the_scale_is_what_the_values_ask_for() {
        let decades: Vec<f64> = (0..100).map(|i| 10f64.powf(f64::from(i) / 20.0)).collect();
        assert_eq!(axis(&decades).scale, Scale::Log);
        // A logarithm would leave out the one that is 0.
        let with_zero: Vec<f64> = decades.iter().copied().chain([0.0]).collect();
        assert_eq!(axis(&with_zero).scale, Scale::SymLog(100.0));
        let both: Vec<f64> = (0..100).map(|i| if i < 60 { 0.02 } else { -300.0 }).collect();
        assert_eq!(axis(&both).scale, Scale::SymLog(0.01));
        assert_eq!(axis(&[3.0, 4.0, 5.0]).scale, Scale::Linear);
        for odd in [&[][..], &[f64::NAN], &[2.0], &[f64::MAX, f64::MIN], &[0.0; 12], &[f64::INFINITY]] {
            let a = axis(odd);
            assert!(a.range().start < a.range().end && a.range().end.is_finite(), "{odd:?}: {a:?}");
        }
    }

    #[test]
    fn numbers_are_named_as_papers_print_them() {
        for (v, want) in [
            (0.0, "0"),
            (-0.25, "−0.25"),
            (150_000.0, "150,000"),
            (1e6, "10⁶"),
            (-2.5e-7, "−2.5·10⁻⁷"),
            (0.0005, "0.0005"),
            (1999.0, "1999"),
            (999_999.999_999_9, "10⁶"),
            (0.1 + 0.2, "0.3"),
            (f64::INFINITY, "∞"),
        ] {
            assert_eq!(number(v), want);
        }
    }
}
