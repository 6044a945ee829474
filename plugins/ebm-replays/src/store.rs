//! A list of samples as floats or bytes: what all buffers share.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use ebm_core::host::singles;
use ebm_core::{BuildCx, Error, Key, Result};
use serde::{Deserialize, Serialize};

use crate::levels::Levels;
use crate::slots::Slots;

/// How samples are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// As 32-bit floats.
    #[default]
    Float,
    /// As bytes over the range of the data; read with uniform noise inside a level.
    Bytes,
}

enum Values {
    Float(Vec<f32>),
    Bytes(Vec<u8>, Levels),
    /// Where the device of the run is not the processor.
    Device(Slots),
}

/// Rows of equal length in slots `0..len`.
pub(crate) struct Store {
    shape: Vec<usize>,
    values: Values,
}

/// Rows on their way into a store, already in its form.
pub(crate) enum Rows {
    Float(Vec<f32>),
    Bytes(Vec<u8>),
    Device(Tensor),
}

/// Most entries on a device. Candle's gathers count in 32 bits on CUDA; the half leaves room for what a published buffer
/// holds beyond its capacity.
const MOST_ENTRIES: usize = 1 << 31;

impl Store {
    /// An empty store on the device of the run, for a buffer of `capacity` samples. Too many for a device are kept by the
    /// processor, from which a step carries its samples there and back.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(
        cx: &BuildCx,
        capacity: usize,
        storage: Storage,
        published: bool,
        inverted: bool,
    ) -> Result<Self> {
        let (low, high) = cx.range().unwrap_or((0.0, 1.0));
        let values = match storage {
            Storage::Float => Values::Float(Vec::new()),
            Storage::Bytes => Values::Bytes(Vec::new(), Levels { low, high, published, inverted }),
        };
        let store = Store { shape: cx.sample_shape().to_vec(), values };
        let fits = capacity.saturating_mul(store.width()) <= MOST_ENTRIES;
        if cx.device().is_cpu() || !fits { Ok(store) } else { store.on(cx.device(), capacity) }
    }

    /// The same on a device, empty.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn on(mut self, device: &Device, capacity: usize) -> Result<Self> {
        let levels = match self.values {
            Values::Float(_) => None,
            Values::Bytes(_, levels) => Some(levels),
            Values::Device(_) => return Ok(self),
        };
        self.values = Values::Device(Slots::new(device, self.width(), capacity, levels)?);
        Ok(self)
    }

    fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of `slots` samples.
    pub(crate) fn bytes_of(&self, slots: usize) -> usize {
        let each = match &self.values {
            Values::Float(_) => size_of::<f32>(),
            Values::Bytes(..) => 1,
            Values::Device(s) => s.dtype().size_in_bytes(),
        };
        slots.saturating_mul(self.width()).saturating_mul(each)
    }

    pub(crate) fn len(&self) -> usize {
        let n = match &self.values {
            Values::Float(v) => v.len(),
            Values::Bytes(v, _) => v.len(),
            Values::Device(s) => return s.len(),
        };
        n / self.width().max(1)
    }

    /// Takes samples `(n, ...)` into the store's form.
    pub(crate) fn rows(&self, x: &Tensor) -> Result<(usize, Rows)> {
        if x.dims().get(1..) != Some(self.shape.as_slice()) {
            return Err(Error::shape(
                "replay",
                x.dims(),
                format!("(n, {:?})", self.shape),
                "the buffer was made for other samples",
            ));
        }
        let n = x.dims()[0];
        let rows = match &self.values {
            Values::Float(_) => Rows::Float(singles(x)?),
            Values::Bytes(_, l) => Rows::Bytes(singles(x)?.into_iter().map(|v| l.write(v)).collect()),
            Values::Device(s) => Rows::Device(s.rows(x)?),
        };
        Ok((n, rows))
    }

    /// Replaces slots `start..end`, clipped to what there is, by rows `from..to`: a list's slice assignment.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn splice(
        &mut self,
        start: usize,
        end: usize,
        rows: &Rows,
        from: usize,
        to: usize,
    ) -> Result<()> {
        let (w, len) = (self.width(), self.len());
        let start = start.min(len);
        let end = end.clamp(start, len);
        let (place, part) = (start * w..end * w, from * w..to * w);
        match (&mut self.values, rows) {
            (Values::Float(v), Rows::Float(r)) => drop(v.splice(place, r[part].iter().copied())),
            (Values::Bytes(v, _), Rows::Bytes(r)) => drop(v.splice(place, r[part].iter().copied())),
            (Values::Device(s), Rows::Device(r)) => s.splice(start, end, r, from, to)?,
            // Rows come from this store's own `rows`.
            _ => unreachable!("rows of another store"),
        }
        Ok(())
    }

    /// Writes rows to slots in order, given as pairs of slot and row: of two for the same slot the second stays. A slot exists,
    /// or is the next that does not.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn write(&mut self, pairs: &[(usize, usize)], rows: &Rows) -> Result<()> {
        if let (Values::Device(s), Rows::Device(r)) = (&mut self.values, rows) {
            return s.write(pairs, r);
        }
        pairs.iter().try_for_each(|(slot, row)| self.splice(*slot, slot + 1, rows, *row, row + 1))
    }

    /// Appends rows `from..to`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn append(&mut self, rows: &Rows, from: usize, to: usize) -> Result<()> {
        let len = self.len();
        self.splice(len, len, rows, from, to)
    }

    /// The samples in `slots`, `(n, ...)`, f32 where they are kept; bytes get fresh noise from `key`.
    pub(crate) fn read(&self, slots: &[u64], key: Key) -> Result<Tensor> {
        let w = self.width();
        let noise = key.at("dequantise");
        let mut shape = vec![slots.len()];
        shape.extend_from_slice(&self.shape);
        let zeros = || vec![0f32; slots.len() * w];
        let out = match &self.values {
            Values::Float(v) => {
                let mut out = zeros();
                for (slot, row) in slots.iter().zip(out.chunks_mut(w.max(1))) {
                    row.copy_from_slice(&v[*slot as usize * w..][..w]);
                }
                out
            }
            Values::Bytes(v, l) => {
                // Rows may hold the same slot twice: noise goes by row.
                let mut out = zeros();
                for (r, (slot, row)) in slots.iter().zip(out.chunks_mut(w.max(1))).enumerate() {
                    noise.fill_uniform(r as u64, row);
                    for (o, b) in row.iter_mut().zip(&v[*slot as usize * w..][..w]) {
                        *o = l.read(*b, *o);
                    }
                }
                out
            }
            Values::Device(s) => return Ok(s.read(slots, noise)?.reshape(shape)?),
        };
        Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
    }

    /// `n` slots uniformly with replacement, and their samples.
    pub(crate) fn draw(&self, n: usize, key: Key) -> Result<(Vec<u64>, Tensor)> {
        let len = self.len();
        let pick = key.at("slots");
        let slots: Vec<u64> = (0..n).map(|i| pick.below(i as u64, len) as u64).collect();
        let x = self.read(&slots, key)?;
        Ok((slots, x))
    }

    /// Samples as they are kept and `counters`, as named tensors on the CPU.
    pub(crate) fn save(&self, counters: &[u64]) -> Result<BTreeMap<String, Tensor>> {
        let counters: Vec<i64> = counters.iter().map(|c| *c as i64).collect();
        let mut out = BTreeMap::new();
        out.insert("counters".to_string(), Tensor::new(counters.as_slice(), &Device::Cpu)?);
        if self.len() > 0 {
            let mut shape = vec![self.len()];
            shape.extend_from_slice(&self.shape);
            let samples = match &self.values {
                Values::Float(v) => Tensor::from_slice(v, shape, &Device::Cpu)?,
                Values::Bytes(v, _) => Tensor::from_slice(v, shape, &Device::Cpu)?,
                Values::Device(s) => s.save()?.reshape(shape)?,
            };
            out.insert("samples".to_string(), samples);
        }
        Ok(out)
    }

    /// Takes what [`Store::save`] gave; returns the `n` counters. On error nothing is changed.
    pub(crate) fn load(&mut self, state: &BTreeMap<String, Tensor>, n: usize) -> Result<Vec<u64>> {
        let wrong = |what: String| Error::config("replay", format!("{what}; the state is of another buffer"));
        let counters = state.get("counters").ok_or_else(|| wrong("the state has no `counters`".into()))?;
        let counters = counters.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        if counters.len() != n {
            return Err(wrong(format!("the state has {} counters, expected {n}", counters.len())));
        }
        let samples = match state.get("samples") {
            None => None,
            Some(s) if s.dims().get(1..) == Some(self.shape.as_slice()) => Some(s),
            Some(s) => {
                return Err(Error::shape(
                    "replay",
                    s.dims(),
                    format!("(n, {:?})", self.shape),
                    "the state is of other samples",
                ));
            }
        };
        let (kept, width) = (samples.map(Tensor::dtype), self.width());
        match (&mut self.values, samples) {
            (Values::Float(v), None) => v.clear(),
            (Values::Bytes(v, _), None) => v.clear(),
            (Values::Device(s), None) => s.load(None)?,
            (Values::Float(v), Some(s)) if kept == Some(DType::F32) => *v = s.flatten_all()?.to_vec1()?,
            (Values::Bytes(v, _), Some(s)) if kept == Some(DType::U8) => *v = s.flatten_all()?.to_vec1()?,
            (Values::Device(slots), Some(s)) if kept == Some(slots.dtype()) => {
                slots.load(Some(&s.reshape((s.dims()[0], width))?))?;
            }
            (_, Some(_)) => {
                return Err(wrong(format!("samples are stored as {kept:?}; set `storage` as it was")));
            }
        }
        Ok(counters.into_iter().map(|c| c as u64).collect())
    }
}

/// The part of a capacity that is not zero in one of `shards` buffers.
pub(crate) fn capacity(kind: &str, capacity: usize, shards: usize) -> Result<usize> {
    match capacity {
        0 => Err(Error::config(format!("{kind}.capacity"), "is 0, must be at least 1")),
        n if n % shards != 0 => Err(Error::config(
            format!("{kind}.capacity"),
            format!("is {n}, which the {shards} buffers of run.shards cannot share; make it a multiple"),
        )),
        n => Ok(n / shards),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn store(storage: Storage, published: bool, inverted: bool) -> Store {
        let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0));
        Store::new(&cx, 1, storage, published, inverted).unwrap()
    }

    fn trip(s: &mut Store, values: &[f32]) -> Vec<f32> {
        let x = Tensor::from_slice(values, (values.len(), 1), &Device::Cpu).unwrap();
        let (n, rows) = s.rows(&x).unwrap();
        s.append(&rows, 0, n).unwrap();
        let slots: Vec<u64> = (0..n as u64).collect();
        s.read(&slots, Key::root(1)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_byte_takes_a_quarter_of_a_float() {
        assert_eq!(store(Storage::Bytes, true, false).bytes_of(1000), 1000);
        assert_eq!(store(Storage::Float, true, false).bytes_of(1000), 4000);
    }

    #[test]
    fn floats_come_back_as_they_went() {
        let v = [-3.5, 0.1, 1.7];
        assert_eq!(trip(&mut store(Storage::Float, false, false), &v), v);
    }

    #[test]
    fn bytes_keep_the_mean_and_the_published_ones_darken() {
        let values: Vec<f32> = (0..20_000).map(|i| i as f32 / 20_000.0).collect();
        let mean = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>() / v.len() as f64;
        let shift =
            |published| mean(&trip(&mut store(Storage::Bytes, published, false), &values)) - mean(&values);
        // Noise of one level: standard error 1/256/sqrt(6·20000) = 1.1e−5; four of them.
        assert!(shift(false).abs() < 4.5e-5, "{}", shift(false));
        // −½·(1/256) in the mean of u/256 over [0, 1].
        assert!((shift(true) + 0.5 / 256.0).abs() < 4.5e-5, "{}", shift(true));
        for (a, b) in values.iter().zip(trip(&mut store(Storage::Bytes, false, false), &values)) {
            assert!((a - b).abs() < 1.0 / 256.0);
        }
    }

    #[test]
    fn the_inverted_read_is_the_published_accident() {
        let mut s = store(Storage::Bytes, true, true);
        // 0 stays 0, 255·0.5 = 127 becomes 129, 255 becomes 1.
        for (got, level) in trip(&mut s, &[0.0, 0.5, 1.0]).iter().zip([0.0, 129.0, 1.0]) {
            assert!(*got >= level / 256.0 && *got < (level + 1.0) / 256.0, "{got}");
        }
    }

    #[test]
    fn values_out_of_range_are_clipped_and_ranges_scale() {
        let cx = BuildCx::new(&[1], DType::F32, &Device::Cpu, Key::root(0)).with_range(Some((-1.0, 1.0)));
        let mut s = Store::new(&cx, 3, Storage::Bytes, false, false).unwrap();
        let v = trip(&mut s, &[-9.0, 0.0, 9.0]);
        assert!(v[0] >= -1.0 && v[0] < -0.99 && v[1].abs() < 0.01 && v[2] < 1.0 && v[2] > 0.99, "{v:?}");
    }

    #[test]
    fn states_of_other_buffers_are_refused() {
        let mut floats = store(Storage::Float, false, false);
        trip(&mut floats, &[0.5]);
        let saved = floats.save(&[1]).unwrap();
        let text = store(Storage::Bytes, false, false).load(&saved, 1).unwrap_err().to_string();
        assert!(text.contains("storage"), "{text}");
        assert!(store(Storage::Float, false, false).load(&saved, 2).is_err());
        assert!(store(Storage::Float, false, false).load(&BTreeMap::new(), 1).is_err());
    }
}
