//! Pages of Parquet files unpacked here, so that each packing is a small library without C and what a page claims is
//! bounded before memory is taken.
//!
//! The library is told that the column is not packed and hands out pages as they stand in the file. Only a page's own
//! bytes are unpacked: levels of version 2 stand before them in the clear.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::serialized_reader::SerializedPageReader;

/// Sizes of pages are signed words of 32 bits.
const LONGEST: u64 = i32::MAX as u64;

/// The values of a column of a row group.
///
/// # Errors
/// If it is packed in a way that this build does not read, which the message names.
pub(super) fn column(file: &File, chunk: &ColumnChunkMetaData, rows: usize) -> Result<ColumnReader> {
    let packing = Packing::of(chunk.compression())?;
    let plain = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
    let pages = SerializedPageReader::new(Arc::new(file.try_clone()?), &plain, rows, None)?;
    // What a page unpacks to is within what the whole column claims, and what its packing can reach.
    let most = u64::try_from(chunk.uncompressed_size()).unwrap_or(0).min(LONGEST);
    Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(Pages { pages, packing, most })))
}

#[derive(Clone, Copy)]
enum Packing {
    None,
    Snappy,
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
    #[cfg(feature = "brotli")]
    Brotli,
    #[cfg(feature = "lz4")]
    Lz4,
    #[cfg(feature = "lz4")]
    Lz4Framed,
}

impl Packing {
    fn of(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Packing::None,
            Compression::SNAPPY => Packing::Snappy,
            Compression::GZIP(_) => Packing::Gzip,
            #[cfg(feature = "zstd")]
            Compression::ZSTD(_) => Packing::Zstd,
            #[cfg(feature = "brotli")]
            Compression::BROTLI(_) => Packing::Brotli,
            #[cfg(feature = "lz4")]
            Compression::LZ4_RAW => Packing::Lz4,
            #[cfg(feature = "lz4")]
            Compression::LZ4 => Packing::Lz4Framed,
            other => {
                let name = format!("{other:?}").to_lowercase();
                let name = name.split('(').next().unwrap_or_default().to_string();
                return Err(ParquetError::NYI(format!("packed by {name}")));
            }
        })
    }

    /// Most bytes that so many can unpack to.
    fn most(self, packed: usize) -> u64 {
        let ratio = match self {
            Packing::None => 1,
            // A copy of 64 bytes takes three.
            Packing::Snappy => 32,
            Packing::Gzip => crate::unpack::DEFLATE_RATIO,
            #[cfg(feature = "zstd")]
            // A block of one repeated byte is 128 KiB in four.
            Packing::Zstd => 1 << 16,
            #[cfg(feature = "brotli")]
            // One command may copy 16 MiB.
            Packing::Brotli => 1 << 24,
            #[cfg(feature = "lz4")]
            Packing::Lz4 | Packing::Lz4Framed => 256,
        };
        (packed as u64).saturating_mul(ratio).saturating_add(64)
    }

    /// The bytes of a page, at most `most` of them.
    fn unpack(self, packed: &[u8], most: u64) -> Result<Vec<u8>> {
        let most = most.min(self.most(packed.len()));
        let damaged = |what: &str| ParquetError::General(format!("a page does not unpack: {what}"));
        let read = |from: &mut dyn Read| -> Result<Vec<u8>> {
            let mut out = Vec::new();
            from.take(most + 1).read_to_end(&mut out).map_err(|e| damaged(&e.to_string()))?;
            if out.len() as u64 > most { Err(damaged("longer than its column")) } else { Ok(out) }
        };
        match self {
            Packing::None => Ok(packed.to_vec()),
            Packing::Snappy => {
                let len = snap::raw::decompress_len(packed).map_err(|e| damaged(&e.to_string()))?;
                if len as u64 > most {
                    return Err(damaged("longer than its column"));
                }
                snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| damaged(&e.to_string()))
            }
            Packing::Gzip => read(&mut flate2::read::MultiGzDecoder::new(packed)),
            #[cfg(feature = "zstd")]
            Packing::Zstd => {
                let mut rest = packed;
                let mut frame = ruzstd::decoding::StreamingDecoder::new(&mut rest)
                    .map_err(|e| damaged(&e.to_string()))?;
                read(&mut frame)
            }
            #[cfg(feature = "brotli")]
            Packing::Brotli => read(&mut brotli_decompressor::Decompressor::new(packed, 4096)),
            #[cfg(feature = "lz4")]
            Packing::Lz4 => lz4(packed, most),
            #[cfg(feature = "lz4")]
            Packing::Lz4Framed => hadoop_lz4(packed, most),
        }
    }
}

#[cfg(feature = "lz4")]
fn lz4(packed: &[u8], most: u64) -> Result<Vec<u8>> {
    let mut out = vec![0; usize::try_from(most)?];
    let n = lz4_flex::block::decompress_into(packed, &mut out)
        .map_err(|e| ParquetError::General(format!("a page does not unpack: {e}")))?;
    out.truncate(n);
    out.shrink_to_fit();
    Ok(out)
}

/// The older LZ4 of Parquet, as Hadoop frames it: blocks after their unpacked and packed lengths, big-endian.
#[cfg(feature = "lz4")]
fn hadoop_lz4(mut packed: &[u8], most: u64) -> Result<Vec<u8>> {
    let whole = packed;
    let mut out = Vec::new();
    while let Some((head, rest)) = packed.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let unpacked = u64::from(u32::from_be_bytes([a, b, c, d]));
        let len = u32::from_be_bytes([e, f, g, h]) as usize;
        let Some((block, rest)) = rest.split_at_checked(len).filter(|_| out.len() as u64 + unpacked <= most)
        else {
            // Some writers put a plain block under this name.
            return lz4(whole, most);
        };
        out.extend(lz4(block, unpacked)?);
        packed = rest;
    }
    Ok(out)
}

struct Pages {
    pages: SerializedPageReader<File>,
    packing: Packing,
    most: u64,
}

impl Pages {
    fn unpacked(&self, mut page: Page) -> Result<Page> {
        if matches!(self.packing, Packing::None) {
            return Ok(page);
        }
        match &mut page {
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                let levels = (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize);
                let Some((levels, packed)) = buf.split_at_checked(levels) else {
                    return Err(ParquetError::General("a page is shorter than its levels".into()));
                };
                // Pages without values may have no packed bytes at all.
                if *is_compressed && !packed.is_empty() {
                    let whole = [levels, &self.packing.unpack(packed, self.most)?].concat();
                    *buf = whole.into();
                }
                *is_compressed = false;
            }
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } if !buf.is_empty() => {
                let whole = self.packing.unpack(buf, self.most)?;
                *buf = whole.into();
            }
            _ => {}
        }
        Ok(page)
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|p| self.unpacked(p)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}
