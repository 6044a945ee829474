//! A list of samples as floats or bytes: what all buffers share.

use std::collections::BTreeMap;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::host::singles;
use ebm_core::{BuildCx, Error, Key, ReplayBuffer, Result, Settings};

use super::bits;
use super::levels::Levels;
use super::slots::Slots;
use super::{Placement, Stored};

/// How samples are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Settings)]
pub enum Storage {
    /// As 32-bit floats; samples of a discrete domain, whose coordinates take two values, as a bit each on the processor.
    #[default]
    Float,
    /// As bytes over the range of the data; read with uniform noise inside a level. Of a discrete domain as bits.
    Bytes,
}

enum Values {
    Float(Vec<f32>),
    Bytes(Vec<u8>, Levels),
    /// Eight values a byte, each one of these two; a row begins with a byte.
    Bits(Vec<u8>, [f32; 2]),
    /// Where the device of the run is not the processor.
    Device(Slots),
}

/// Rows of equal length in slots `0..len`.
///
/// ```
/// use ebm_core::candle::{DType, Device, Tensor};
/// use ebm_core::{BuildCx, Key};
/// use ebm_replays::kit::{Storage, Store};
///
/// let cx = BuildCx::new(&[2], DType::F32, &Device::Cpu, Key::root(0));
/// let mut store = Store::new(&cx, 8, Storage::Float, false, false)?;
/// let (n, rows) = store.rows(&Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?)?;
/// store.append(&rows, 0, n)?;
/// assert_eq!(store.read(&[1], Key::root(1))?.to_vec2::<f32>()?, [[3.0, 4.0]]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub struct Store {
    shape: Vec<usize>,
    values: Values,
}

/// Rows on their way into a store, already in its form.
pub struct Rows(Form);

enum Form {
    Float(Vec<f32>),
    Bytes(Vec<u8>),
    Device(Tensor),
}

/// Most entries on a device. Candle's gathers count in 32 bits on CUDA; the half leaves room for what a published buffer
/// holds beyond its capacity.
const MOST_ENTRIES: usize = 1 << 31;

impl Store {
    /// An empty store on the device of the run, for a buffer of `capacity` samples; `published` and `inverted` are the
    /// published program's writing and reading of bytes. Too many for a device are kept by the
    /// processor, from which a step carries its samples there and back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(
        cx: &BuildCx,
        capacity: usize,
        storage: Storage,
        published: bool,
        inverted: bool,
    ) -> Result<Self> {
        let (low, high) = cx.range().unwrap_or((0.0, 1.0));
        let two = cx.domain().range().filter(|_| cx.domain().is_discrete());
        let values = match (storage, two) {
            (_, Some((low, high))) => Values::Bits(Vec::new(), [low as f32, high as f32]),
            (Storage::Float, None) => Values::Float(Vec::new()),
            (Storage::Bytes, None) => Values::Bytes(Vec::new(), Levels { low, high, published, inverted }),
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
            Values::Float(_) | Values::Bits(..) => None,
            Values::Bytes(_, levels) => Some(levels),
            Values::Device(_) => return Ok(self),
        };
        self.values = Values::Device(Slots::new(device, self.width(), capacity, levels)?);
        Ok(self)
    }

    fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Entries of a row in the form in which it is kept.
    fn stride(&self) -> usize {
        if let Values::Bits(..) = self.values { self.width().div_ceil(8) } else { self.width() }
    }

    /// Bytes of `slots` samples.
    pub fn bytes_of(&self, slots: usize) -> usize {
        let each = match &self.values {
            Values::Float(_) => size_of::<f32>(),
            Values::Bytes(..) | Values::Bits(..) => 1,
            Values::Device(s) => s.dtype().size_in_bytes(),
        };
        slots.saturating_mul(self.stride()).saturating_mul(each)
    }

    /// Number of samples held.
    pub fn len(&self) -> usize {
        let n = match &self.values {
            Values::Float(v) => v.len(),
            Values::Bytes(v, _) | Values::Bits(v, _) => v.len(),
            Values::Device(s) => return s.len(),
        };
        n / self.stride().max(1)
    }

    /// Whether none are held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples `x` `(n, ...)` are, and they in the store's form.
    ///
    /// # Errors
    /// If they have another shape than the store's.
    pub fn rows(&self, x: &Tensor) -> Result<(usize, Rows)> {
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
            Values::Float(_) => Form::Float(singles(x)?),
            Values::Bytes(_, l) => Form::Bytes(singles(x)?.into_iter().map(|v| l.write(v)).collect()),
            Values::Bits(_, two) => Form::Bytes(bits::packed(&singles(x)?, self.width(), *two)?),
            Values::Device(s) => Form::Device(s.rows(x)?),
        };
        Ok((n, Rows(rows)))
    }

    /// Replaces slots `start..end`, clipped to what there is, by rows `from..to`: a list's slice assignment.
    ///
    /// # Errors
    /// If the device fails or the rows are of a store of another form.
    pub fn splice(&mut self, start: usize, end: usize, rows: &Rows, from: usize, to: usize) -> Result<()> {
        let (w, len) = (self.stride(), self.len());
        let start = start.min(len);
        let end = end.clamp(start, len);
        let (place, part) = (start * w..end * w, from * w..to * w);
        match (&mut self.values, &rows.0) {
            (Values::Float(v), Form::Float(r)) => drop(v.splice(place, r[part].iter().copied())),
            (Values::Bytes(v, _) | Values::Bits(v, _), Form::Bytes(r)) => {
                drop(v.splice(place, r[part].iter().copied()))
            }
            (Values::Device(s), Form::Device(r)) => s.splice(start, end, r, from, to)?,
            _ => {
                return Err(Error::config(
                    "replay",
                    "got rows of a store of another form; make them by its own `rows`",
                ));
            }
        }
        Ok(())
    }

    /// Writes rows to slots in order, given as pairs of slot and row: of two for the same slot the second stays. A slot exists,
    /// or is the next that does not.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(&mut self, pairs: &[(usize, usize)], rows: &Rows) -> Result<()> {
        if let (Values::Device(s), Form::Device(r)) = (&mut self.values, &rows.0) {
            return s.write(pairs, r);
        }
        pairs.iter().try_for_each(|(slot, row)| self.splice(*slot, slot + 1, rows, *row, row + 1))
    }

    /// Appends rows `from..to`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn append(&mut self, rows: &Rows, from: usize, to: usize) -> Result<()> {
        let len = self.len();
        self.splice(len, len, rows, from, to)
    }

    /// The samples in `slots`, `(n, ...)`, f32 where they are kept; bytes get fresh noise from `key`. Slots must be there.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self, slots: &[u64], key: Key) -> Result<Tensor> {
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
            Values::Bits(v, two) => {
                let (mut out, stride) = (zeros(), self.stride());
                for (slot, row) in slots.iter().zip(out.chunks_mut(w.max(1))) {
                    bits::unpack(&v[*slot as usize * stride..][..stride], *two, row);
                }
                out
            }
            Values::Device(s) => return Ok(s.read(slots, noise)?.reshape(shape)?),
        };
        Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
    }

    /// `n` slots uniformly with replacement, and their samples. The store must hold some.
    ///
    /// # Errors
    /// If the device fails.
    pub fn draw(&self, n: usize, key: Key) -> Result<(Vec<u64>, Tensor)> {
        let len = self.len();
        let pick = key.at("slots");
        let slots: Vec<u64> = (0..n).map(|i| pick.below(i as u64, len) as u64).collect();
        let x = self.read(&slots, key)?;
        Ok((slots, x))
    }

    /// Samples as they are kept and `counters`, as named tensors on the CPU.
    ///
    /// # Errors
    /// If the device fails.
    pub fn save(&self, counters: &[u64]) -> Result<BTreeMap<String, Tensor>> {
        let counters: Vec<i64> = counters.iter().map(|c| *c as i64).collect();
        let mut out = BTreeMap::new();
        out.insert("counters".to_string(), Tensor::new(counters.as_slice(), &Device::Cpu)?);
        if !self.is_empty() {
            let mut shape = vec![self.len()];
            shape.extend_from_slice(&self.shape);
            let samples = match &self.values {
                Values::Float(v) => Tensor::from_slice(v, shape, &Device::Cpu)?,
                Values::Bytes(v, _) => Tensor::from_slice(v, shape, &Device::Cpu)?,
                Values::Bits(v, _) => Tensor::from_slice(v, (self.len(), self.stride()), &Device::Cpu)?,
                Values::Device(s) => s.save()?.reshape(shape)?,
            };
            out.insert("samples".to_string(), samples);
        }
        Ok(out)
    }

    /// Shape of a row as it is saved.
    fn kept_shape(&self) -> Vec<usize> {
        if let Values::Bits(..) = self.values { vec![self.stride()] } else { self.shape.clone() }
    }

    /// Takes what [`Store::save`] gave; returns the `n` counters. On error nothing is changed.
    ///
    /// # Errors
    /// If the state is of another buffer.
    pub fn load(&mut self, state: &BTreeMap<String, Tensor>, n: usize) -> Result<Vec<u64>> {
        let wrong = |what: String| Error::config("replay", format!("{what}; the state is of another buffer"));
        let counters = state.get("counters").ok_or_else(|| wrong("the state has no `counters`".into()))?;
        let counters = counters.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        if counters.len() != n {
            return Err(wrong(format!("the state has {} counters, expected {n}", counters.len())));
        }
        let samples = match state.get("samples") {
            None => None,
            Some(s) if s.dims().get(1..) == Some(self.kept_shape().as_slice()) => Some(s),
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
            (Values::Bytes(v, _) | Values::Bits(v, _), None) => v.clear(),
            (Values::Device(s), None) => s.load(None)?,
            (Values::Float(v), Some(s)) if kept == Some(DType::F32) => *v = s.flatten_all()?.to_vec1()?,
            (Values::Bytes(v, _) | Values::Bits(v, _), Some(s)) if kept == Some(DType::U8) => {
                *v = s.flatten_all()?.to_vec1()?;
            }
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

/// What buffers of slots have in common, to stand among their settings by `#[setting(flatten)]`.
#[derive(Clone, Debug, Settings)]
pub struct StoreSettings {
    /// Number of chains held; at least the batch.
    #[setting(at_least = 1, unit = "chains")]
    pub capacity: usize,
    /// How samples are kept.
    #[setting(default = Storage::Float)]
    pub storage: Storage,
}

impl StoreSettings {
    /// The part of the capacity in each of the buffers that share the chains of a run.
    ///
    /// # Errors
    /// If it is 0 or cannot be shared.
    pub fn share(&self, cx: &BuildCx) -> Result<usize> {
        match (self.capacity, cx.shards()) {
            (0, _) => Err(cx.refuse("capacity", "is 0, must be at least 1")),
            (n, shards) if n % shards != 0 => {
                let message = format!(
                    "is {n}, which the {shards} buffers of run.shards cannot share; make it a multiple"
                );
                Err(cx.refuse("capacity", message))
            }
            (n, shards) => Ok(n / shards),
        }
    }

    /// An empty buffer that puts chains where `placement` says.
    ///
    /// # Errors
    /// If the capacity cannot be shared or the device fails.
    pub fn buffer<P: Placement + 'static>(
        &self,
        cx: &BuildCx,
        bytes: &ByteSettings,
        placement: P,
    ) -> Result<Box<dyn ReplayBuffer>> {
        let capacity = self.share(cx)?;
        let store = Store::new(cx, capacity, self.storage, bytes.published, bytes.inverted)?;
        Ok(Box::new(Stored::new(store, capacity, placement)))
    }
}

/// The published program's ways, to stand among the settings of a buffer by `#[setting(flatten)]`.
#[derive(Clone, Debug, Settings)]
pub struct ByteSettings {
    /// The published program's capacity rule and byte rounding.
    #[setting(default = false)]
    pub published: bool,
    /// Read bytes inverted, as the published program does without augmentation.
    #[setting(default = false)]
    pub inverted: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::{Chains, Domain};

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
    fn spins_are_kept_as_bits_come_back_as_they_went_and_nothing_else_is_taken() {
        let cx = BuildCx::new(&[11], DType::F32, &Device::Cpu, Key::root(0)).with_domain(Domain::Spins, None);
        let make = || Store::new(&cx, 4, Storage::Float, false, false).unwrap();
        let mut s = make();
        assert_eq!(s.bytes_of(1000), 2000);
        let spins =
            Domain::Spins.uniform(&Chains::range(0, 4), &[11], DType::F32, &Device::Cpu, Key::root(2));
        let x = spins.unwrap().unwrap();
        let (n, rows) = s.rows(&x).unwrap();
        s.append(&rows, 0, n).unwrap();
        let mut again = make();
        again.load(&s.save(&[3]).unwrap(), 1).unwrap();
        let numbers = |t: &Tensor| t.to_vec2::<f32>().unwrap();
        for s in [s, again] {
            let back = numbers(&s.read(&[2, 0, 0, 3], Key::root(1)).unwrap());
            assert_eq!(back, [2, 0, 0, 3].map(|i: usize| numbers(&x)[i].clone()));
            let text = s.rows(&x.affine(0.5, 0.0).unwrap()).err().unwrap().to_string();
            assert!(text.contains("0.5") && text.contains("-1 or 1"), "{text}");
        }
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
