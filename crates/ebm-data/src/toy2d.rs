//! Five 2-D distributions whose density is known, for tests and for comparing recipes.
//!
//! They are the sets of the `toy2d` protocol: the usual pictures of the field with their scales fixed, so
//! that mean log-densities in nats can be compared between programs. A draw is a pure function of the
//! numbers it is given; where those come from is the caller's choice.

mod density;
mod pinwheel;

use std::f64::consts::{PI, TAU};

use crate::{ArraySet, DataError, Result};

/// One of the five distributions on the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toy2d {
    /// Two interleaved half circles of radius 1, blurred by 0.1.
    Moons,
    /// 25 Gaussians of deviation 0.1 on the grid {−2, …, 2}².
    Grid25,
    /// Uniform on eight unit squares of a chessboard on [−2, 2]².
    Checker,
    /// Circles of radius 0.5, 1, 1.5 and 2, blurred by 0.08.
    Rings,
    /// Five bent arms.
    Pinwheel,
}

/// Deviation of the blur of moons and of the grid's Gaussians.
const BLUR: f64 = 0.1;
/// Deviation of the blur of rings.
const RING_BLUR: f64 = 0.08;
/// Mean and deviation of the first coordinate of a pinwheel's straight arm, deviation of the second.
const ARM: (f64, f64, f64) = (1.0, 0.3, 0.1);
/// A pinwheel's arm is turned by this times exp(first coordinate).
const TWIST: f64 = 0.25;
/// A pinwheel is enlarged by this in the end.
const PINWHEEL_SCALE: f64 = 2.0;

impl Toy2d {
    /// All five, in the protocol's order.
    pub const ALL: [Self; 5] = [Self::Moons, Self::Grid25, Self::Checker, Self::Rings, Self::Pinwheel];

    /// The protocol's name: `moons`, `grid25`, `checker`, `rings`, `pinwheel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moons => "moons",
            Self::Grid25 => "grid25",
            Self::Checker => "checker",
            Self::Rings => "rings",
            Self::Pinwheel => "pinwheel",
        }
    }

    /// The set of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| {
            DataError::mismatch("name of a 2-D set", name, Self::ALL.map(Self::name).join(", "))
        })
    }

    /// How many uniform and how many normal numbers one [`sample`](Self::sample) takes.
    pub const fn draws(self) -> (usize, usize) {
        match self {
            Self::Moons | Self::Grid25 | Self::Rings => (2, 2),
            Self::Checker => (3, 0),
            Self::Pinwheel => (1, 2),
        }
    }

    /// One point from `uniform` numbers in [0, 1) and standard `normal` ones.
    ///
    /// It takes exactly [`draws`](Self::draws) of them, whatever their values, so point i can be drawn
    /// from a counter-based generator at an address of its own.
    ///
    /// ```
    /// use ebm_data::toy2d::Toy2d;
    /// let x = Toy2d::Grid25.sample(&mut || 0.5, &mut || 1.0);
    /// assert_eq!(x, [0.1, 0.1]);
    /// ```
    pub fn sample(self, uniform: &mut dyn FnMut() -> f64, normal: &mut dyn FnMut() -> f64) -> [f64; 2] {
        match self {
            Self::Moons => {
                let (sin, cos) = (PI * uniform()).sin_cos();
                let upper = uniform() < 0.5;
                let [x, y] = if upper { [cos, sin] } else { [1.0 - cos, 0.5 - sin] };
                [x + BLUR * normal() - 0.5, y + BLUR * normal() - 0.25]
            }
            Self::Grid25 => {
                let (i, j) = (choose(5, uniform()), choose(5, uniform()));
                [i - 2.0 + BLUR * normal(), j - 2.0 + BLUR * normal()]
            }
            Self::Checker => {
                let x = 4.0 * uniform() - 2.0;
                let y = uniform() - 2.0 * choose(2, uniform()) + x.floor().rem_euclid(2.0);
                [x, y]
            }
            Self::Rings => {
                let r = 0.5 * (1.0 + choose(4, uniform()));
                let (sin, cos) = (TAU * uniform()).sin_cos();
                [r * cos + RING_BLUR * normal(), r * sin + RING_BLUR * normal()]
            }
            Self::Pinwheel => {
                let arm = choose(5, uniform());
                let along = ARM.0 + ARM.1 * normal();
                let across = ARM.2 * normal();
                let (sin, cos) = (TAU * arm / 5.0 + TWIST * along.exp()).sin_cos();
                [(along * cos - across * sin), (along * sin + across * cos)].map(|v| PINWHEEL_SCALE * v)
            }
        }
    }

    /// `n` points `(n, 2)`.
    pub fn draw(
        self,
        n: usize,
        uniform: &mut dyn FnMut() -> f64,
        normal: &mut dyn FnMut() -> f64,
    ) -> ArraySet {
        let data = (0..n).flat_map(|_| self.sample(uniform, normal).map(|v| v as f32)).collect();
        // Two values a point by construction.
        ArraySet::new(data, vec![n, 2]).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// Log-density at `x` in nats, normalised: the best mean any model can reach on fresh data.
    ///
    /// −∞ off the squares of [`Checker`](Self::Checker), and for [`Pinwheel`](Self::Pinwheel) beyond
    /// |x| = 16, where the density is below e⁻²⁷⁰ and its preimages can no longer be counted out.
    /// NaN for a coordinate that is no number.
    pub fn log_density(self, x: [f64; 2]) -> f64 {
        if x.iter().any(|v| v.is_nan()) {
            return f64::NAN;
        }
        match self {
            Self::Moons => density::moons(x),
            Self::Grid25 => density::grid25(x),
            Self::Checker => density::checker(x),
            Self::Rings => density::rings(x),
            Self::Pinwheel => pinwheel::log_density(x),
        }
    }
}

/// One of 0, …, n−1 by a uniform number, as a float; the bound holds for u = 1 too.
fn choose(n: u32, u: f64) -> f64 {
    (f64::from(n) * u).floor().min(f64::from(n - 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::LazyLock;

    use super::*;

    /// Uniform numbers of SplitMix64, good enough for a test.
    fn source(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    fn normal(mut uniform: impl FnMut() -> f64) -> impl FnMut() -> f64 {
        move || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (TAU * uniform()).cos()
    }

    /// Log-densities at the midpoints of a grid over a box that holds all but 1e-9 of the mass.
    ///
    /// Sums over it converge like exp(−2π²s²/h²) for a density blurred by s: beyond rounding at h = s/2.
    struct Grid {
        half: f64,
        cells: usize,
        logs: Vec<f64>,
    }

    impl Grid {
        fn new(toy: Toy2d) -> Self {
            // Edges fall on multiples of 1.5, the cells of the counting test below.
            let (half, cells) = match toy {
                Toy2d::Moons => (2.4, 96),
                Toy2d::Grid25 => (2.8, 112),
                Toy2d::Checker => (3.0, 60),
                Toy2d::Rings => (2.7, 144),
                // Half-width 6 leaves out a radius above 3, which is 6.7 deviations along the arm.
                Toy2d::Pinwheel => (6.0, 160),
            };
            let mut grid = Self { half, cells, logs: Vec::new() };
            grid.logs = (0..cells * cells).map(|k| toy.log_density(grid.point(k))).collect();
            grid
        }

        fn point(&self, k: usize) -> [f64; 2] {
            let h = 2.0 * self.half / self.cells as f64;
            [k / self.cells, k % self.cells].map(|i| -self.half + (i as f64 + 0.5) * h)
        }

        /// Mass of the cell around each point and the log-density there.
        fn masses(&self) -> impl Iterator<Item = (f64, f64)> {
            let area = (2.0 * self.half / self.cells as f64).powi(2);
            self.logs.iter().map(move |&l| (l.exp() * area, if l > -700.0 { l } else { 0.0 }))
        }
    }

    static GRIDS: LazyLock<[Grid; 5]> = LazyLock::new(|| Toy2d::ALL.map(Grid::new));

    #[test]
    fn every_density_integrates_to_one() {
        for (toy, grid) in Toy2d::ALL.into_iter().zip(&*GRIDS) {
            let mass: f64 = grid.masses().map(|(m, _)| m).sum();
            // The pinwheel's cells of 0.075 are coarse across its bent arms: the sum is off by 3e-7 here and
            // by 1e-10 with cells of 0.05. The others are at h = s/2, or constant on whole cells.
            let tolerance = if toy == Toy2d::Pinwheel { 1e-6 } else { 1e-9 };
            assert!((mass - 1.0).abs() < tolerance, "{}: {mass}", toy.name());
        }
    }

    #[test]
    fn draws_come_from_the_stated_density() {
        const N: usize = 4000;
        for ((i, toy), grid) in (0u64..).zip(Toy2d::ALL).zip(&*GRIDS) {
            let (mut u, mut n) = (source(i), normal(source(100 + i)));
            let logs: Vec<f64> = (0..N).map(|_| toy.log_density(toy.sample(&mut u, &mut n))).collect();
            let mean = logs.iter().sum::<f64>() / N as f64;
            let deviation = (logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / N as f64).sqrt();
            let expected: f64 = grid.masses().map(|(m, l)| m * l).sum();
            // Four standard errors under a fixed seed; 1e-9 for checker, whose log-density is constant.
            let tolerance = 4.0 * deviation / (N as f64).sqrt() + 1e-9;
            assert!((mean - expected).abs() < tolerance, "{}: {mean} against {expected}", toy.name());
        }
    }

    /// Cell counts against cell masses: unlike the mean log-density this sees a swapped sign or place.
    #[test]
    fn draws_fill_the_plane_where_the_density_says() {
        const N: usize = 4000;
        for ((i, toy), grid) in (0u64..).zip(Toy2d::ALL).zip(&*GRIDS) {
            let (mut u, mut n) = (source(20 + i), normal(source(120 + i)));
            let cell = |[x, y]: [f64; 2]| {
                let at = |v: f64| ((v + 3.0) / 1.5).floor().clamp(0.0, 3.0) as usize;
                4 * at(x) + at(y)
            };
            let (mut count, mut mass) = ([0usize; 16], [0.0; 16]);
            (0..N).for_each(|_| count[cell(toy.sample(&mut u, &mut n))] += 1);
            grid.masses().enumerate().for_each(|(k, (m, _))| mass[cell(grid.point(k))] += m);
            for (c, m) in count.iter().zip(mass) {
                // Five standard errors of a count (80 cells), plus one for cells of nearly no mass.
                let tolerance = 5.0 * (N as f64 * m * (1.0 - m)).max(0.0).sqrt() + 1.0;
                let expected = N as f64 * m;
                assert!((*c as f64 - expected).abs() < tolerance, "{}: {c} of {expected}", toy.name());
            }
        }
    }

    /// Values at six points of another program: adaptive quadrature (scipy.integrate.quad) for moons,
    /// `scipy.special.ive` for rings, and for the pinwheel all roots by bisection on a grid of angles.
    #[test]
    fn values_agree_with_an_independent_program() {
        let points = [[0.3, 0.4], [1.1, -0.2], [-0.9, 1.55], [2.0, 0.1], [-1.7, -1.3], [3.5, 2.5]];
        let golden = [
            [-0.515527400797, -3.43371140998, -36.3686054623, -13.6529350114, -60.8600636402, -457.617506076],
            [-12.9515373043, -2.95158270529, -11.0698673568, -0.951582705289, -9.45158270117, -125.451582705],
            [
                -2.07944154168,
                -2.07944154168,
                -2.07944154168,
                -2.07944154168,
                -2.07944154168,
                f64::NEG_INFINITY,
            ],
            [-0.920992035185, -2.76086167461, -5.58291928992, -2.31144047542, -3.87748763878, -416.392481582],
            [-5.22668343187, -7.51874935882, -3.62091092421, -14.9567986747, -19.1768565807, -17.0100461781],
        ];
        for (toy, row) in Toy2d::ALL.into_iter().zip(golden) {
            for (x, g) in points.into_iter().zip(row) {
                let l = toy.log_density(x);
                // Twelve digits are stored, and the pinwheel there bisects to 1e-12 or so.
                let tolerance = 1e-9 * g.abs().max(1.0);
                assert!(l == g || (l - g).abs() < tolerance, "{} at {x:?}: {l} against {g}", toy.name());
            }
        }
    }

    #[test]
    fn a_sample_takes_as_many_numbers_as_it_says() {
        for toy in Toy2d::ALL {
            for fixed in [0.0, 0.3, 0.999_999, 1.0] {
                let (mut uniforms, mut normals) = (0, 0);
                let mut u = || {
                    uniforms += 1;
                    fixed
                };
                let mut n = || {
                    normals += 1;
                    -3.0 * fixed
                };
                assert!(toy.sample(&mut u, &mut n).iter().all(|v| v.is_finite()));
                assert_eq!((uniforms, normals), toy.draws());
            }
        }
    }

    #[test]
    fn far_and_odd_points_have_a_log_density_too() {
        for toy in Toy2d::ALL {
            assert!(toy.log_density([f64::NAN, 0.0]).is_nan());
            for far in [[1e3, 0.0], [-1e150, 1e150], [f64::INFINITY, 0.0], [0.0, 12.0]] {
                let l = toy.log_density(far);
                assert!(l < -100.0, "{} at {far:?}: {l}", toy.name());
            }
            assert!(!toy.log_density([0.0, 0.0]).is_nan());
            assert_eq!(Toy2d::from_name(toy.name()).unwrap(), toy);
        }
        assert!(Toy2d::from_name("spiral").unwrap_err().to_string().contains("moons, grid25"));
    }
}
