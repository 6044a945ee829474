//! Many tensors at once, by a table of their addresses.

use candle_core::{DType, Device, Result, Tensor};
use ebm_core::operators::{Elementwise, ManyOps};

use super::args::{BLOCK, count, threads_for};
use super::elementwise::packed;
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

/// Entries of a block.
const PART: usize = 1024;

/// A table of tensors on the device.
struct Table {
    rows: u32,
    blocks: u32,
    words: Tensor,
}

impl<L: Launcher> Kernels<L> {
    /// The table of rows of tensors, each in one piece and none of them empty, those of a row of one shape; `None` is the address 0.
    fn table(&self, rows: &[Vec<Option<&Tensor>>], device: &Device) -> Result<Option<Table>> {
        let (mut words, mut blocks) = (Vec::new(), 0usize);
        for row in rows {
            let entries = row.iter().flatten().next().map_or(0, |t| t.elem_count());
            words.extend([entries as i64, blocks as i64]);
            for t in row {
                let address = match t {
                    None => 0,
                    Some(t) => match self.launcher.address(t)? {
                        Some(address) => address,
                        None => return Ok(None),
                    },
                };
                words.push(address.cast_signed());
            }
            blocks += entries.div_ceil(PART);
        }
        let (Some(rows), Some(blocks)) = (count(rows.len()), count(blocks)) else { return Ok(None) };
        let n = words.len();
        Ok(Some(Table { rows, blocks, words: Tensor::from_vec(words, n, device)? }))
    }
}

/// Whether all are f32 and have the shape of the first, with entries.
fn alike(row: &[&Tensor]) -> bool {
    let first = row.first().map(|t| t.dims());
    row.iter().all(|t| t.dtype() == DType::F32 && Some(t.dims()) == first && t.elem_count() > 0)
}

fn pieces(row: &[&Tensor]) -> Result<Vec<Tensor>> {
    row.iter().map(|t| whole(t)).collect()
}

impl<L: Launcher> ManyOps for Kernels<L> {
    fn map(
        &self,
        program: &Elementwise,
        numbers: &[f64],
        rows: &[Vec<&Tensor>],
    ) -> Result<Option<Vec<Vec<Tensor>>>> {
        let Some(device) = rows.first().and_then(|row| row.first()).map(|t| t.device()) else {
            return Ok(None);
        };
        let right = |row: &Vec<&Tensor>| row.len() == program.inputs && alike(row);
        let Some(words) = packed(program, numbers).filter(|_| rows.iter().all(right)) else {
            return Ok(None);
        };
        let inputs = rows.iter().map(|row| pieces(row)).collect::<Result<Vec<_>>>()?;
        let new =
            |row: &Vec<&Tensor>| program.outputs.iter().map(|_| self.empty(row[0].dims(), device)).collect();
        let outputs: Vec<Vec<Tensor>> = rows.iter().map(new).collect::<Result<_>>()?;
        let both =
            |(i, o): (&'_ Vec<Tensor>, &'_ Vec<Tensor>)| i.iter().chain(o).cloned().collect::<Vec<_>>();
        let all: Vec<Vec<Tensor>> = inputs.iter().zip(&outputs).map(both).collect();
        let lists: Vec<Vec<Option<&Tensor>>> = all.iter().map(|row| row.iter().map(Some).collect()).collect();
        let Some(table) = self.table(&lists, device)? else { return Ok(None) };
        let args = [table.rows.into(), Arg::Words(&words), Arg::In(&table.words)];
        // SAFETY: the table has the addresses of as many tensors of a row as the program takes and makes, all of the length it states.
        unsafe { self.launch("many_elementwise", table.blocks as usize, BLOCK as u32, &args)? };
        Ok(Some(outputs))
    }

    fn squares(&self, pairs: &[(&Tensor, Option<&Tensor>)]) -> Result<Option<Tensor>> {
        let Some(device) = pairs.first().map(|(t, _)| t.device()) else { return Ok(None) };
        let rows: Vec<Vec<&Tensor>> =
            pairs.iter().map(|(a, b)| [Some(*a), *b].into_iter().flatten().collect()).collect();
        if !rows.iter().all(|row| alike(row)) {
            return Ok(None);
        }
        let rows = rows.iter().map(|row| pieces(row)).collect::<Result<Vec<_>>>()?;
        let lists: Vec<Vec<Option<&Tensor>>> = rows.iter().map(|row| vec![row.first(), row.get(1)]).collect();
        let Some(table) = self.table(&lists, device)? else { return Ok(None) };
        let (parts, out) =
            (self.empty(&[table.blocks as usize], device)?, self.empty(&[pairs.len()], device)?);
        let args = [table.rows.into(), Arg::In(&table.words), Arg::Out(&parts)];
        // SAFETY: the table has two addresses a row, and there is a part for each block.
        unsafe { self.launch("many_squares", table.blocks as usize, BLOCK as u32, &args)? };
        let args =
            [table.rows.into(), table.blocks.into(), Arg::In(&table.words), Arg::In(&parts), Arg::Out(&out)];
        // SAFETY: a block a row, which has a place in the result.
        unsafe { self.launch("many_totals", pairs.len(), threads_for(table.blocks as usize), &args)? };
        Ok(Some(out))
    }

    fn copy(&self, pairs: &[(&Tensor, &Tensor)]) -> Result<bool> {
        let Some(device) = pairs.first().map(|(t, _)| t.device()) else { return Ok(false) };
        let right = |(from, to): &(&Tensor, &Tensor)| alike(&[*from, *to]) && to.is_contiguous();
        if !pairs.iter().all(right) {
            return Ok(false);
        }
        let from = pairs.iter().map(|(from, _)| whole(from)).collect::<Result<Vec<_>>>()?;
        let lists: Vec<Vec<Option<&Tensor>>> =
            from.iter().zip(pairs).map(|(from, (_, to))| vec![Some(from), Some(*to)]).collect();
        let Some(table) = self.table(&lists, device)? else { return Ok(false) };
        let args = [table.rows.into(), Arg::In(&table.words)];
        // SAFETY: the table has two addresses a row of tensors of one length, the second in one piece.
        unsafe { self.launch("many_copy", table.blocks as usize, BLOCK as u32, &args)? };
        Ok(true)
    }
}
