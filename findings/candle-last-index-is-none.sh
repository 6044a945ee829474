#!/usr/bin/env bash
# candle reads the 255th row of a table as zeros if the indices are bytes.
#
# candle-core 0.11.1, processor: `index_select` takes the largest number of the index type for "no index" and gives zeros. With indices of u8,
# the type of class labels and grey values, that is 255, a valid row of any table of 256 or more: row 254 comes out, row 255 is zeros
# without an error. With u32 indices the same row is right.
#
# For us: indices are u32 or i64 everywhere.
source "$(dirname "$0")/lib.sh"
rust candle-core==0.11.1 <<'R'
use candle_core::{DType, Device, Tensor};

fn main() {
    let table = Tensor::arange(0f32, 300.0, &Device::Cpu).unwrap();
    let index = Tensor::new(&[254u8, 255], &Device::Cpu).unwrap();
    let rows = |index: &Tensor| table.index_select(index, 0).unwrap().to_vec1::<f32>().unwrap();
    let (bytes, words) = (rows(&index), rows(&index.to_dtype(DType::U32).unwrap()));
    println!("entries 254 and 255: {bytes:?} by u8, {words:?} by u32");
    assert_eq!((bytes, words), (vec![254.0, 0.0], vec![254.0, 255.0]), "this has changed");
}
R
