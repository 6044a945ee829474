//! The laws of a buffer of chains: what goes in comes out, within its capacity, and saved it goes on alike.

use std::collections::BTreeSet;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Chains, Key, ReplayBuffer, Result};

use crate::difference::{largest, relative_gap};
use crate::{Failure, Verdict};

/// Checks the buffers that `build` makes for samples of `shape` with values in [0, 1], through some puts and draws of
/// four chains:
///
/// 1. a draw gives `n` slots that there are and as many samples of the shape, or nothing; different ones where it says so;
///    the same key gives the same; it changes nothing;
/// 2. what is drawn was put, to within `tolerance` (0 where floats are kept, a level where bytes are);
/// 3. chains go back to the slots they came from without error, and in the long run no more are held than the capacity says;
/// 4. once it holds its capacity it gives as many as that;
/// 5. saved and loaded into another it gives the same chains, before and after the same puts; states of others are refused.
///
/// # Errors
/// Names the first law that fails.
pub fn check_replay(
    build: &dyn Fn() -> Result<Box<dyn ReplayBuffer>>,
    shape: &[usize],
    tolerance: f64,
) -> Verdict {
    let mut buffer = build()?;
    let name = buffer.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    unless(buffer.is_empty() && buffer.draw(1, Key::root(0))?.is_none(), &|| {
        "gives chains that nobody put".into()
    })?;
    let capacity = buffer.capacity(ROWS);
    let mut put: Vec<Tensor> = Vec::new();
    let (mut full, mut drawn_full) = (false, false);
    for k in 0..40u64 {
        let key = Key::root(5).at(k);
        let x = samples(shape, key)?;
        let drawn = buffer.draw(ROWS.min(capacity.unwrap_or(ROWS)), key)?;
        if let Some((slots, y)) = &drawn {
            let n = slots.len();
            unless(
                y.dims()[0] == n && y.dims()[1..] == *shape && n == ROWS.min(capacity.unwrap_or(ROWS)),
                &|| format!("drew {n} slots and samples {:?}", y.dims()),
            )?;
            unless(slots.iter().all(|s| (*s as usize) < buffer.len()), &|| format!("drew slots {slots:?}"))?;
            let different = slots.iter().collect::<BTreeSet<_>>().len() == n;
            unless(different || !buffer.draws_distinct(), &|| format!("drew a slot twice: {slots:?}"))?;
            let again = buffer.draw(n, key)?;
            let same = again.is_some_and(|(s, z)| s == *slots && relative_gap(&z, y).is_ok_and(|g| g == 0.0));
            unless(same, &|| "the same key drew other chains".into())?;
            for row in 0..n {
                let nearest =
                    put.iter().map(|x| nearest(x, &y.narrow(0, row, 1)?)).collect::<Result<Vec<_>>>()?;
                let gap = nearest.into_iter().fold(f64::INFINITY, f64::min);
                unless(gap <= tolerance, &|| format!("drew a chain that is {gap} from all that were put"))?;
            }
            drawn_full |= full;
        }
        full = capacity.is_some_and(|c| buffer.len() >= c);
        let rows = drawn.as_ref().map_or(ROWS, |(slots, _)| slots.len());
        let x = x.narrow(0, 0, rows)?;
        buffer.put(drawn.as_ref().map(|d| d.0.as_slice()), &x, key)?;
        put.push(x);
        unless(k < LONG || capacity.is_none_or(|c| buffer.len() <= c), &|| {
            format!("holds {} chains, its capacity is {capacity:?}", buffer.len())
        })?;
    }
    unless(!full || drawn_full, &|| "gives nothing although it is full".into())?;
    goes_on(buffer.as_mut(), build, shape)
}

/// Chains that come at a time.
const ROWS: usize = 4;
/// Puts after which the capacity holds.
const LONG: u64 = 20;

fn samples(shape: &[usize], key: Key) -> Result<Tensor> {
    key.at("samples").uniform(&Chains::range(0, ROWS), shape, DType::F32, &Device::Cpu)
}

/// The largest difference of `y` `(1, ...)` from the row of `x` that is nearest to it.
fn nearest(x: &Tensor, y: &Tensor) -> Result<f64> {
    let gaps = x.broadcast_sub(y)?.flatten_from(1)?;
    (0..x.dims()[0]).try_fold(f64::INFINITY, |least, row| Ok(largest(&gaps.get(row)?)?.min(least)))
}

fn goes_on(
    buffer: &mut dyn ReplayBuffer,
    build: &dyn Fn() -> Result<Box<dyn ReplayBuffer>>,
    shape: &[usize],
) -> Verdict {
    let mut other = build()?;
    other.put(None, &samples(shape, Key::root(6))?, Key::root(6))?;
    other.load(&buffer.save()?)?;
    let name = buffer.name();
    for k in 0..3u64 {
        let key = Key::root(7).at(k);
        let n = ROWS.min(buffer.capacity(ROWS).unwrap_or(ROWS));
        let alike = match (buffer.draw(n, key)?, other.draw(n, key)?) {
            (None, None) => true,
            (Some(a), Some(b)) => a.0 == b.0 && relative_gap(&a.1, &b.1)? == 0.0,
            _ => false,
        };
        Failure::unless(alike && buffer.len() == other.len(), || {
            format!("{name}: saved and loaded it is another after {k} puts")
        })?;
        let x = samples(shape, key)?;
        buffer.put(None, &x, key)?;
        other.put(None, &x, key)?;
    }
    let nothing = other.load(&Default::default());
    Failure::unless(nothing.is_err(), || format!("{name}: loads a state that holds nothing of its own"))
}
