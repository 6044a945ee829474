//! Integrals over the plane against closed forms.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::goldens::assert_close;

const TAU: f64 = std::f64::consts::TAU;

fn integrate(of: impl Fn(f64, f64) -> f64) -> Result<PlaneIntegral> {
    integrate_from([0.0, 0.0], of)
}

fn integrate_from(centre: [f64; 2], of: impl Fn(f64, f64) -> f64) -> Result<PlaneIntegral> {
    let log_density =
        |p: &[f64]| Ok::<_, String>(p.chunks_exact(2).map(|p| of(p[0], p[1])).collect::<Vec<f64>>());
    integrate_plane(log_density, centre, [1.0, 1.0], 1e-3)
}

fn normal(x: f64, y: f64, [a, b]: [f64; 2], sd: f64) -> f64 {
    -((x - a).powi(2) + (y - b).powi(2)) / (2.0 * sd * sd)
}

#[test]
fn normal_densities_far_narrow_wide_and_hot_have_their_constants() {
    for (centre, mean, sd) in [
        ([0.0, 0.0], [1.0, -1.0], 1.0),
        ([20.0, 20.0], [20.0, 20.0], 0.05),
        ([0.0, 0.0], [20.0, 20.0], 0.05),
        ([0.0, 0.0], [0.0, 0.0], 3.0),
        ([0.0, 0.0], [0.0, 0.0], 2.0), // standard deviation 1 at T = 4
        ([0.0, 0.0], [-40.0, 3.0], 1.0),
        ([0.0, 0.0], [0.013, 0.37], 1e-3),
        ([0.0, 0.0], [500.0, 0.0], 100.0),
    ] {
        let found = integrate_from(centre, |x, y| normal(x, y, mean, sd)).unwrap();
        assert!((found.log_z - (TAU * sd * sd).ln()).abs() < 1e-3, "{mean:?} {sd}: {found:?}");
        assert!(found.outside < 1e-3 && found.error < 1e-3 && found.points < 200_000, "{found:?}");
    }
}

#[test]
fn correlated_ridges_and_rings_are_followed() {
    // Standard deviations 3 and 0.02 along the diagonals.
    let ridge = integrate(|x, y| {
        let (u, v) = ((x + y) / 2f64.sqrt(), (x - y) / 2f64.sqrt());
        -u * u / 18.0 - v * v / (2.0 * 4e-4)
    });
    assert!((ridge.unwrap().log_z - (TAU * 3.0 * 0.02).ln()).abs() < 1e-3);
    // exp(-(r - 2)²/(2 s²)): 2π ∫ r ... = 2π 2 s √(2π) up to e^-2000.
    let ring = integrate(|x, y| -((x * x + y * y).sqrt() - 2.0).powi(2) / (2.0 * 0.03 * 0.03)).unwrap();
    assert!((ring.log_z - (TAU * 2.0 * 0.03 * TAU.sqrt()).ln()).abs() < 1e-3, "{ring:?}");
    // A box has edges, which no rule is good at.
    let box_ = integrate(|x, y| if x.abs() < 0.7 && y.abs() < 1.3 { 0.0 } else { f64::NEG_INFINITY });
    assert!((box_.unwrap().log_z - (4.0 * 0.7 * 1.3f64).ln()).abs() < 1e-3);
}

#[test]
fn far_modes_are_found_with_their_weights() {
    let modes = [([0.0, 0.0], 1.0, 1.0f64), ([25.0, -30.0], 0.2, 2.0), ([-55.0, 10.0], 0.05, 0.5)];
    let mixture = |x: f64, y: f64| {
        let terms: Vec<f64> =
            modes.iter().map(|(c, sd, w)| normal(x, y, *c, *sd) - (TAU * sd * sd).ln() + w.ln()).collect();
        log_sum_exp(&terms)
    };
    let found = integrate(mixture).unwrap();
    assert!((found.log_z - 3.5f64.ln()).abs() < 1e-3, "{found:?}");
    // Draws have the weights of the modes.
    let uniforms: Vec<f64> =
        (0..30_000u64).map(|i| (crate::splitmix64(i) >> 11) as f64 / 2f64.powi(53)).collect();
    let draws = found.draws(&uniforms).unwrap();
    let near = draws.data().chunks_exact(2).filter(|p| (p[0] - 25.0).hypot(p[1] + 30.0) < 3.0).count();
    // 4/7 of 10,000, with a standard deviation of 49.
    assert!((near as f64 - 5714.0).abs() < 200.0, "{near}");
    assert!(found.draws(&uniforms[..4]).is_err());
}

#[test]
fn tails_that_can_be_held_are_held_and_others_refused() {
    // Student's density with one degree of freedom: (1 + r²)^(-3/2), 2π; its mass outside of R is 1/R.
    let held = integrate(|x, y| -1.5 * (1.0 + x * x + y * y).ln()).unwrap();
    assert!((held.log_z - TAU.ln()).abs() < 2e-3 && held.half[0] >= 1000.0, "{held:?}");
    assert!(held.outside > 1e-4, "told, not hidden: {held:?}");
    // r^-2.1: the mass outside of R is R^-0.1.
    let heavy = integrate(|x, y| -1.05 * (1.0 + x * x + y * y).ln()).unwrap_err();
    assert!(
        matches!(heavy, EvalError::Plane(PlaneRefusal::HeavyTails { outside, .. }) if outside > 0.1),
        "{heavy}"
    );
}

#[test]
fn improper_and_empty_densities_have_no_value() {
    for (name, of) in [
        ("constant", (|_, _| 0.0) as fn(f64, f64) -> f64),
        ("rising", |x, _| 0.1 * x),
        ("r^-2", |x, y| -(1.0 + x * x + y * y).ln()),
        ("a normal density on a floor", |x, y| log_sum_exp(&[-0.5 * (x * x + y * y), -30.0])),
        ("a ridge without end", |x, _| -0.5 * x * x),
    ] {
        let refused = integrate(of).unwrap_err();
        assert!(
            matches!(
                refused,
                EvalError::Plane(PlaneRefusal::Improper { .. } | PlaneRefusal::HeavyTails { .. })
            ),
            "{name}: {refused}"
        );
    }
    let nothing = integrate(|_, _| f64::NEG_INFINITY).unwrap_err();
    assert!(matches!(nothing, EvalError::Plane(PlaneRefusal::Nothing { .. })), "{nothing}");
    // Noise at every scale: no cells resolve it.
    let rough =
        integrate(
            |x, y| {
                if x.abs().max(y.abs()) < 1.0 { 9.0 * (1e7 * x).sin() * (1e7 * y).cos() } else { -1e9 }
            },
        );
    assert!(matches!(rough.unwrap_err(), EvalError::Plane(PlaneRefusal::Unresolved { .. })));
}

#[test]
fn other_temperatures_on_the_same_nodes_and_bad_answers() {
    let found = integrate(|x, y| normal(x, y, [0.0, 0.0], 1.0)).unwrap();
    assert_close(found.log_z_at(1.0), found.log_z, 1e-9);
    assert!((found.log_z_at(1.25) - (TAU / 1.25).ln()).abs() < 1e-3);
    let ask = |answer: f64, spread: f64, tolerance: f64| {
        let of = |p: &[f64]| Ok::<_, String>(vec![answer; p.len() / 2]);
        integrate_plane(of, [0.0, 0.0], [spread, 1.0], tolerance).unwrap_err().to_string()
    };
    assert!(ask(f64::NAN, 1.0, 1e-3).starts_with("log densities: value 0 is NaN"));
    assert!(ask(f64::INFINITY, 1.0, 1e-3).contains("inf"));
    assert!(ask(0.0, 0.0, 1e-3).contains("spread") && ask(0.0, 1.0, 1.0).contains("tolerance"));
    let failing = |_: &[f64]| Err::<Vec<f64>, _>("boom");
    assert!(integrate_plane(failing, [0.0, 0.0], [1.0, 1.0], 1e-3).unwrap_err().to_string().contains("boom"));
    let short = |_: &[f64]| Ok::<_, String>(vec![0.0]);
    assert!(integrate_plane(short, [0.0, 0.0], [1.0, 1.0], 1e-3).is_err());
}

#[test]
fn axes_may_have_scales_of_their_own() {
    let of = |p: &[f64]| {
        let log = |p: &[f64]| -(p[0] - 1e6).powi(2) / 2e8 - p[1] * p[1] / 2e-6;
        Ok::<_, String>(p.chunks_exact(2).map(log).collect::<Vec<f64>>())
    };
    let found = integrate_plane(of, [1e6, 0.0], [1e4, 1e-3], 1e-3).unwrap();
    assert!((found.log_z - (TAU * 10.0).ln()).abs() < 1e-3, "{found:?}");
}

/// A normal density with these standard deviations, the first along the direction at `degrees`.
fn ridge(degrees: f64, [long, short]: [f64; 2]) -> impl Fn(f64, f64) -> f64 {
    let (sin, cos) = degrees.to_radians().sin_cos();
    move |x, y| -0.5 * (((x * cos + y * sin) / long).powi(2) + ((y * cos - x * sin) / short).powi(2))
}

#[test]
fn ridges_at_any_angle_have_their_constants() {
    for (degrees, sides) in [
        (0.0, [20.0, 0.1]),
        (0.0, [30.0, 0.1]),
        (0.0, [50.0, 0.1]),
        (0.0, [100.0, 0.1]),
        (0.0, [100.0, 0.01]),
        (90.0, [50.0, 0.05]),
        (90.0, [1000.0, 1e-3]),
        (0.0, [40.0, 0.5]),
        (0.5, [50.0, 0.1]),
        (3.0, [20.0, 0.1]),
        (20.0, [10.0, 0.05]),
        (45.0, [1.0, 1e-3]),
        (45.0, [20.0, 0.1]),
        (89.0, [20.0, 0.1]),
    ] {
        let found = integrate(ridge(degrees, sides)).unwrap();
        let truth = (TAU * sides[0] * sides[1]).ln();
        assert!(
            (found.log_z - truth).abs() < 1e-3,
            "{degrees} {sides:?}: {} for {truth}, {} points",
            found.log_z,
            found.points
        );
        assert!(found.outside < 1e-3 && found.error < 1e-3, "{degrees} {sides:?}");
    }
    // Away from the centre, on no edge of cells.
    let of = ridge(0.0, [50.0, 0.1]);
    let found = integrate(|x, y| of(x - 7.3, y + 3.37)).unwrap();
    assert!((found.log_z - (TAU * 5.0).ln()).abs() < 1e-3, "{found:?}");
}

#[test]
fn narrow_rings_and_bent_ridges_are_followed() {
    for (radius, width) in [(2.0, 0.01), (10.0, 0.03)] {
        let ring = |x: f64, y: f64| -(x.hypot(y) - radius).powi(2) / (2.0 * width * width);
        let found = integrate(ring).unwrap();
        assert!((found.log_z - (TAU * radius * width * TAU.sqrt()).ln()).abs() < 1e-3, "{radius}: {found:?}");
    }
    // A bent normal density has the constant of the straight one: the bend moves no area.
    for (long, short, bend) in [(2.0, 0.05, 0.5), (5.0, 0.05, 0.1)] {
        let banana = |x: f64, y: f64| {
            -0.5 * ((x / long).powi(2) + ((y - bend * (x * x - long * long)) / short).powi(2))
        };
        let found = integrate(banana).unwrap();
        assert!((found.log_z - (TAU * long * short).ln()).abs() < 1e-3, "{bend}: {found:?}");
    }
}

#[test]
fn mixtures_with_ridges_have_all_their_mass() {
    let (first, second) = (ridge(0.0, [50.0, 0.1]), ridge(90.0, [20.0, 0.2]));
    let found = integrate(|x, y| {
        let cross = log_sum_exp(&[first(x, y) - (TAU * 5.0).ln(), second(x - 10.0, y) - (TAU * 4.0).ln()]);
        log_sum_exp(&[cross, normal(x, y, [30.0, -20.0], 0.5) - (TAU * 0.25).ln()])
    });
    assert!((found.unwrap().log_z - 3f64.ln()).abs() < 1e-3);
}

#[test]
fn a_narrow_mode_far_off_is_found_where_a_place_near_it_is_known() {
    // In units of 30 no lattice has a centre from which the second mode is higher than the first.
    let two = |p: &[f64]| {
        let of = |p: &[f64]| {
            log_sum_exp(&[
                normal(p[0], p[1], [0.0, 0.0], 10.0) - 100f64.ln(),
                normal(p[0], p[1], [61.3, 40.7], 0.01) - 1e-4f64.ln(),
            ])
        };
        Ok::<_, String>(p.chunks_exact(2).map(of).collect::<Vec<f64>>())
    };
    let (centre, spread) = ([30.0, 20.0], [30.0, 20.0]);
    let alone = integrate_plane(two, centre, spread, 1e-3).unwrap();
    assert!((alone.log_z - TAU.ln()).abs() < 1e-3, "{alone:?}");
    let places = [1.0, 2.0, -3.0, 4.0, 61.32, 40.69];
    let found = integrate_plane_at(two, centre, spread, &places, 1e-3).unwrap();
    assert!((found.log_z - (2.0 * TAU).ln()).abs() < 1e-3, "{found:?}");
    assert!(integrate_plane_at(two, centre, spread, &places[..5], 1e-3).is_err());
    assert!(integrate_plane_at(two, centre, spread, &[f64::NAN, 0.0], 1e-3).is_err());
}
