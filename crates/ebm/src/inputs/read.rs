//! Reading sets piece by piece.

use std::path::{Path, PathBuf};

use ebm_core::host;
use ebm_core::{Cell, Cells, Column, Columns, DataSource, Labelled};
use ebm_data::ImageSet;
use ebm_data::folder::{Channels, FolderOptions, read_picture};
use ebm_data::idx::{IdxRows, IdxValues};
use ebm_data::npy::{NpyRows, NpyValues};
use ebm_data::passes;
use ebm_data::table::{self, Table, TableOptions, Take};

use super::fit::Fit;
use super::other_table::as_known;
use super::set::{From, Inputs, Piece};
use super::units::{Tally, Units};
use crate::error::{Error, Result};

/// Where pieces go.
pub(crate) type Sink<'a> = dyn FnMut(Piece) -> Result<()> + 'a;

/// Which of `of` samples are taken: all, or `count` at equal distances.
#[derive(Clone, Copy)]
struct Pick {
    count: u64,
    of: u64,
}

impl Pick {
    fn takes(self, i: u64) -> bool {
        let place = |i: u64| u128::from(i) * u128::from(self.count) / u128::from(self.of.max(1));
        self.count >= self.of || place(i) != place(i + 1)
    }
}

impl Inputs {
    /// Shape of one sample; grey images have an axis of one channel. Of pictures that of the first, in colours.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn shape(&self) -> Result<Vec<usize>> {
        let dims = match &self.from {
            From::Source(source, _) => source.sample_shape().to_vec(),
            From::Npy(path) => NpyRows::open(path)?.sample_dims().to_vec(),
            From::Npz(path, array) => {
                let mut dims = Vec::new();
                ebm_data::npz::Npz::open(path)?.rows(array, |rows| -> Result<()> {
                    dims = rows.sample_dims().to_vec();
                    Ok(())
                })?;
                dims
            }
            From::Idx(path) => IdxRows::open(path)?.sample_dims().to_vec(),
            From::Table(path) => vec![variables(path)?.len()],
            From::Cifar(_) => vec![3, 32, 32],
            From::Pictures(files) => {
                let fit = Fit::of_shape(&[3]);
                let first = files.first().map(|f| picture(f, &fit)).transpose()?;
                first.map_or_else(Vec::new, |p| vec![p.shape().0, p.shape().1, p.shape().2])
            }
        };
        Ok(match dims[..] {
            [h, w] if h > 1 && w > 1 => vec![1, h, w],
            _ => dims,
        })
    }

    /// Hands the samples to `sink` in order, at most `rows` at a time: all of them, or `most` at equal distances.
    /// Memory is that of a piece, except for linked kinds, which hold their data.
    ///
    /// # Errors
    /// If a file cannot be read, a sample does not fit or holds a value that is not finite, there is no sample, or
    /// `sink` fails.
    pub fn each(&self, rows: usize, most: Option<u64>, fit: &Fit, sink: &mut Sink<'_>) -> Result<()> {
        let mut gather = Gather {
            fit,
            rows: rows.max(1),
            most,
            pick: Pick { count: 0, of: 0 },
            next: 0,
            kept: Piece { values: Vec::new(), places: Vec::new(), levels: None },
            any: false,
            seen: Tally::new(fit.units),
            sink,
        };
        match &self.from {
            From::Source(source, split) => {
                let stored = source.stored(*split, usize::MAX)?;
                gather.stored(stored, Path::new(&self.name), source.as_ref())?;
            }
            From::Npy(path) => {
                let levels = levels_of(NpyRows::open(path)?, fit.units)?;
                gather.npy(NpyRows::open(path)?, path, levels)?;
            }
            From::Npz(path, array) => {
                let place = path.join(array);
                let levels =
                    ebm_data::npz::Npz::open(path)?.rows(array, |rows| levels_of(rows, fit.units))?;
                ebm_data::npz::Npz::open(path)?.rows(array, |rows| gather.npy(rows, &place, levels))?;
            }
            From::Idx(path) => gather.idx(path)?,
            From::Table(path) => gather.table(path)?,
            From::Cifar(files) => gather.cifar(files)?,
            From::Pictures(files) => gather.pictures(files)?,
        }
        gather.flush()?;
        if let Some(remark) = gather.seen.remark() {
            tracing::warn!("{}: {remark}", self.name);
        }
        if !gather.any {
            return Err(ebm_core::Error::data(&self.name, "holds no sample, wanted at least one").into());
        }
        Ok(())
    }
}

/// Collects samples until a piece is whole.
struct Gather<'a, 's> {
    fit: &'a Fit,
    rows: usize,
    most: Option<u64>,
    pick: Pick,
    /// Number of the next sample of the whole set.
    next: u64,
    kept: Piece,
    any: bool,
    seen: Tally,
    sink: &'a mut Sink<'s>,
}

impl Gather<'_, '_> {
    /// There are `of` samples in all.
    fn total(&mut self, of: u64) {
        self.pick = Pick { count: self.most.unwrap_or(of), of };
    }

    fn npy(&mut self, mut rows: NpyRows<'_>, path: &Path, levels: u32) -> Result<()> {
        let (dims, columns) = (rows.sample_dims().to_vec(), self.fit.columns.clone());
        self.rows_of(path, &dims, rows.left(), |n| {
            Ok(match rows.next(n)? {
                NpyValues::U8(bytes) | NpyValues::Bool(bytes) => {
                    (passes::middles(&bytes, levels), Some(levels))
                }
                other => {
                    let mut values = other.into_f64();
                    columns.from_own(&mut values);
                    (values, None)
                }
            })
        })
    }

    /// Samples of a table are made of the columns that the model knows; without such all columns are numbers.
    fn table(&mut self, path: &Path) -> Result<()> {
        let (own, fit) = (plain_columns(path, self.fit)?, self.fit);
        let columns = own.as_ref().unwrap_or(&fit.columns);
        let header = if own.is_some() { None } else { Some(has_names(path, columns)) };
        let options = TableOptions { header, ..TableOptions::default() };
        let table = Table::read(path, &options, &taken(columns))?;
        let (each, width) = (columns.each(), columns.width());
        let (table, order, lengths) = match columns.series() {
            Some(_) => {
                let (order, lengths) = table.series(columns.list().len());
                (table.select(&order), order, lengths)
            }
            None => {
                let rows = table.len();
                (table, (0..rows).collect(), vec![rows])
            }
        };
        let (rows, starts) = (table.len(), columns.starts(&lengths, each));
        let refuse = |message: String| Error::from(ebm_core::Error::data(path, message));
        if rows.saturating_mul(width) > table::MOST_VALUES {
            let most = table::MOST_VALUES;
            return Err(refuse(format!(
                "makes {rows} rows of {width} values, wanted at most {most} in all: split it"
            )));
        }
        let left = rows - starts.len() * each;
        if left > 0 {
            let which = if columns.series().is_some() { "at the ends of series" } else { "the last" };
            tracing::warn!("{}: {left} of {rows} rows, {which}, make no series of {each}", path.display());
        }
        let values = columns.samples(&starts, |row, at| cell(&table, row, at)).map_err(|e| {
            let name = columns.list().get(e.column).map_or("", |c| c.name.as_str());
            let row = order.get(e.row).copied().unwrap_or(e.row);
            refuse(format!(
                "row {row} (from 0) holds `{}` in column `{name}`, which no training row did",
                e.found
            ))
        })?;
        let dims = if each > 1 { vec![width, each] } else { vec![width] };
        let mut left = values.chunks(self.rows * each * width);
        self.rows_of(path, &dims, starts.len() as u64, |_| {
            Ok((left.next().unwrap_or_default().to_vec(), None))
        })
    }

    fn idx(&mut self, path: &Path) -> Result<()> {
        let mut rows = IdxRows::open(path)?;
        let dims = rows.sample_dims().to_vec();
        self.rows_of(path, &dims, rows.left(), |n| match rows.next(n)? {
            IdxValues::U8(bytes) => Ok((passes::middles(&bytes, 256), Some(256))),
            other => Ok((other.into_f32().into_iter().map(f64::from).collect(), None)),
        })
    }

    /// All `of` samples of a file whose next `n` are the values, and their levels if they are bytes, that `next(n)` gives.
    fn rows_of(
        &mut self,
        path: &Path,
        dims: &[usize],
        of: u64,
        mut next: impl FnMut(usize) -> Result<(Vec<f64>, Option<u32>)>,
    ) -> Result<()> {
        self.total(of);
        for first in (0..of).step_by(self.rows) {
            let n = (of - first).min(self.rows as u64);
            let (values, levels) = next(n as usize)?;
            self.add(values, dims, path, first, n, levels)?;
        }
        Ok(())
    }

    /// One file at a time is in memory: 30 MB as published.
    fn cifar(&mut self, files: &[PathBuf]) -> Result<()> {
        let mut total = 0;
        for file in files {
            total += std::fs::metadata(file).map_err(Error::io(file))?.len() / 3073;
        }
        self.total(total);
        for file in files {
            let set = ebm_data::cifar::read_cifar10_files(&[file])?;
            for first in (0..set.len()).step_by(self.rows) {
                let n = self.rows.min(set.len() - first);
                let len = set.sample_len();
                let values = passes::middles(&set.bytes()[first * len..(first + n) * len], 256);
                self.add(values, &[3, 32, 32], file, first as u64, n as u64, Some(256))?;
            }
        }
        Ok(())
    }

    fn pictures(&mut self, files: &[PathBuf]) -> Result<()> {
        self.total(files.len() as u64);
        for file in files {
            if !self.pick.takes(self.next) {
                self.next += 1;
                continue;
            }
            let picture = picture(file, self.fit)?;
            let (c, h, w) = picture.shape();
            let values = passes::middles(picture.bytes(), 256);
            self.add(values, &[c, h, w], file, 0, 1, Some(256))?;
        }
        Ok(())
    }

    fn stored(&mut self, set: Option<Labelled>, name: &Path, source: &dyn DataSource) -> Result<()> {
        let Some(x) = set.map(|l| l.x) else { return Ok(()) };
        let (levels, plain) = (source.levels(), Columns::default());
        // A table of its own has learnt other numbers than the one of the model.
        let fit = self.fit;
        let (own, known) = (source.columns().unwrap_or(&plain), &fit.columns);
        let other = own.difference(known).is_some();
        let n = x.dims().first().copied().unwrap_or(0);
        self.total(n as u64);
        for first in (0..n).step_by(self.rows) {
            let count = self.rows.min(n - first);
            let mut values = x
                .narrow(0, first, count)
                .and_then(|t| host::wide(&t)?.flatten_all()?.to_vec1::<f64>())
                .map_err(ebm_core::Error::from)?;
            let mut dims = x.dims()[1..].to_vec();
            match (own.is_empty(), known.is_empty()) {
                _ if !other => {}
                (false, false) => {
                    values = as_known(&values, own, known).map_err(|e| ebm_core::Error::data(name, e))?;
                    let axis = if known.each() > 1 { dims.first_mut() } else { dims.last_mut() };
                    axis.into_iter().for_each(|n| *n = known.width());
                }
                _ => {
                    own.to_own(&mut values);
                    known.from_own(&mut values);
                }
            }
            self.add(values, &dims, name, first as u64, count as u64, levels)?;
        }
        Ok(())
    }

    /// Takes `n` samples of a file, from its sample `first` on.
    fn add(
        &mut self,
        values: Vec<f64>,
        dims: &[usize],
        path: &Path,
        first: u64,
        n: u64,
        levels: Option<u32>,
    ) -> Result<()> {
        let start = self.next;
        self.next += n;
        let chosen: Vec<u64> = (0..n).filter(|i| self.pick.takes(start + i)).collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let width = dims.iter().product::<usize>();
        let values = if chosen.len() as u64 == n {
            values
        } else {
            chosen
                .iter()
                .flat_map(|i| &values[*i as usize * width..(*i as usize + 1) * width])
                .copied()
                .collect()
        };
        finite(&values, self.fit.double, width, path, |i| first + chosen[i.min(chosen.len() - 1)])?;
        self.seen.see(&values, levels, path)?;
        let (values, changed) = self.fit.apply(values, dims, path)?;
        let levels = if changed { Some(256) } else { levels };
        let values = self.fit.of_domain(values, levels, path, &mut self.seen)?;
        let levels = levels.filter(|_| !self.fit.domain.is_discrete());
        if levels != self.kept.levels {
            self.flush()?;
        }
        self.kept.levels = levels;
        if self.kept.values.is_empty() {
            self.kept.values = values;
        } else {
            self.kept.values.extend(values);
        }
        self.kept.places.extend(chosen.iter().map(|i| (path.to_path_buf(), first + i)));
        while self.kept.len() >= self.rows {
            let width = self.kept.width();
            let rest = Piece {
                values: self.kept.values.split_off(self.rows * width),
                places: self.kept.places.split_off(self.rows),
                levels,
            };
            let whole = std::mem::replace(&mut self.kept, rest);
            self.any = true;
            (self.sink)(whole)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let none = Piece { values: Vec::new(), places: Vec::new(), levels: None };
        self.any = true;
        (self.sink)(std::mem::replace(&mut self.kept, none))
    }
}

/// A cell of a column that was read.
pub(super) fn cell(table: &Table, row: usize, at: usize) -> Cell<'_> {
    match (table.number(row, at), table.word(row, at)) {
        (Some(v), _) => Cell::Number(v),
        (None, word) => Cell::Word(word.unwrap_or_default()),
    }
}

/// The columns that make samples, with how their cells are taken, and behind them that of the series.
pub(super) fn taken(columns: &Columns) -> Vec<(String, Take)> {
    let take = |c: &Column| if matches!(c.cells, Cells::Words(_)) { Take::Words } else { Take::Numbers };
    let of_samples = columns.list().iter().map(|c| (c.name.clone(), take(c)));
    of_samples.chain(columns.series().map(|name| (name.to_string(), Take::Words))).collect()
}

/// Whether the first line of a table with these columns has their names. Columns without names are called by their numbers, which
/// samples that were written of them have as names in their first line.
pub(super) fn has_names(path: &Path, columns: &Columns) -> bool {
    let numbered = |name: &str| name.parse::<usize>().is_ok();
    if !columns.list().iter().all(|c| numbered(&c.name)) {
        return true;
    }
    let options = TableOptions { header: Some(true), ..TableOptions::default() };
    let Ok(names) = Table::names(path, &options) else { return false };
    let beside = [columns.series(), columns.label()];
    let named = columns.list().iter().all(|c| names.contains(&c.name))
        && names.iter().all(|n| numbered(n) || beside.contains(&Some(n.as_str())));
    if named {
        tracing::info!("{}: the first line is taken for the numbers of columns", path.display());
    }
    named
}

/// The names of a table's columns but for that of pandas' index.
fn variables(path: &Path) -> Result<Vec<String>> {
    let names = Table::names(path, &TableOptions::default())?;
    let (index, names): (Vec<String>, Vec<String>) = names.into_iter().partition(|n| table::is_index(n));
    for name in index {
        tracing::info!("{}: the column `{name}`, in which pandas numbers rows, is left out", path.display());
    }
    Ok(names)
}

/// All columns of a table as numbers, where the model knows none.
fn plain_columns(path: &Path, fit: &Fit) -> Result<Option<Columns>> {
    if !fit.columns.is_empty() {
        return Ok(None);
    }
    let plain = |name| Column { name, cells: Cells::Numbers { centre: 0.0, spread: 1.0 } };
    Ok(Some(Columns::new(variables(path)?.into_iter().map(plain).collect(), 1)))
}

/// Number of levels of bytes as images ([`Units::levels_of`]), of which no more are read than it takes to know.
fn levels_of(mut rows: NpyRows<'_>, units: Option<Units>) -> Result<u32> {
    const AT_A_TIME: usize = 256;
    let mut most = 0;
    while rows.left() > 0 {
        match rows.next(AT_A_TIME)? {
            NpyValues::Bool(_) => return Ok(2),
            NpyValues::U8(bytes) => most = bytes.into_iter().max().unwrap_or(0).max(most),
            _ => return Ok(256),
        }
        if most > 1 && Units::levels_of(most, units) == 256 {
            break;
        }
    }
    Ok(Units::levels_of(most, units))
}

/// A picture in the colours that the model wants.
pub(super) fn picture(file: &Path, fit: &Fit) -> Result<ImageSet> {
    let channels = match fit.shape.first() {
        Some(1) => Channels::Grey,
        _ => Channels::Rgb,
    };
    Ok(read_picture(file, &FolderOptions { channels, ..FolderOptions::default() })?)
}

/// Errs on the first value that is not finite in the precision of its use, with the number of its sample.
pub(super) fn finite(
    values: &[f64],
    double: bool,
    width: usize,
    file: &Path,
    index: impl Fn(usize) -> u64,
) -> Result<()> {
    match passes::first_infinite(values, double) {
        None => Ok(()),
        Some(at) => {
            let index = index(at / width.max(1));
            let message = format!("sample {index} holds the value {}, wanted finite numbers", values[at]);
            Err(ebm_core::Error::data(file, message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_are_as_many_as_asked_for_and_spread_over_the_set() {
        for (count, of) in [(3, 10), (10, 10), (1, 7), (7, 3), (999, 1000), (0, 5)] {
            let pick = Pick { count, of };
            let taken: Vec<u64> = (0..of).filter(|i| pick.takes(*i)).collect();
            assert_eq!(taken.len() as u64, count.min(of), "{count} of {of}");
            let widest = taken.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(1);
            assert!(widest <= of.div_ceil(count.max(1)), "{taken:?}");
        }
    }
}
