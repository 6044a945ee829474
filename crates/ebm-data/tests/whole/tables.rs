//! Tables as pyarrow and pandas write them (`scripts/make-table-goldens.py`), whole and damaged.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ebm_data::table::{Table, TableOptions, Take, is_table};
use proptest::prelude::*;

fn at(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tables").join(name)
}

fn read(name: &str, wanted: &[(&str, Take)]) -> ebm_data::Result<Table> {
    let wanted: Vec<_> = wanted.iter().map(|(n, t)| (n.to_string(), *t)).collect();
    Table::read(at(name), &TableOptions::default(), &wanted)
}

#[test]
fn the_same_table_is_read_from_every_file() {
    let names = ["whole", "large", "single", "double", "truth"];
    let wanted: Vec<_> = names
        .iter()
        .map(|n| (*n, Take::Numbers))
        .chain([("word", Take::Words), ("whole", Take::Words)])
        .collect();
    for file in ["snappy.parquet", "zstd.parquet", "pandas.parquet", "pandas.csv"] {
        assert!(is_table(&at(file)), "{file}");
        assert_eq!(Table::names(at(file), &TableOptions::default()).unwrap().len(), 6, "{file}");
        let table = read(file, &wanted).unwrap();
        let column = |c: usize| (0..table.len()).map(|r| table.number(r, c).unwrap()).collect::<Vec<_>>();
        assert_eq!(column(0), [1.0, -2.0, 3.0, 4.0, 5.0], "{file}");
        assert_eq!(column(1), [0.0, 4_294_967_295.0, 2.0, 3.0, 4.0], "{file}");
        assert_eq!(column(2), [0.5, 1.5, -2.5, 0.0, 1e9], "{file}");
        assert_eq!(column(3), [0.1, 0.2, 0.3, 0.4, -1e-300], "{file}");
        assert_eq!(column(4), [1.0, 0.0, 1.0, 1.0, 0.0], "{file}");
        let words = |c: usize| (0..5).map(|r| table.word(r, c).unwrap()).collect::<Vec<_>>();
        assert_eq!(words(5), ["cook", "smith", "cook", "baker", "smith"], "{file}");
        assert_eq!((words(6)[1], table.words(6)[0].as_str()), ("-2", "-2"), "{file}");
    }
}

#[test]
fn cells_of_parquet_that_are_none_are_named_by_row_and_column() {
    for (file, column, take, parts) in [
        ("nulls.parquet", "x", Take::Numbers, &["row 2 (from 0), column `x` is missing"][..]),
        ("nulls.parquet", "w", Take::Words, &["row 1 (from 0), column `w` is missing"]),
        ("nulls.parquet", "y", Take::Words, &["column y", "x, w"]),
        ("nan.parquet", "x", Take::Numbers, &["row 1 (from 0), column `x` is NaN"]),
        ("decimals.parquet", "price", Take::Numbers, &["decimal", "floats"]),
        ("lists.parquet", "x.list.element", Take::Numbers, &["in a list", "one value a row"]),
        (
            "zstd.parquet",
            "word",
            Take::Numbers,
            &["row 0 (from 0), column `word` is the text \"cook\"", "categories"],
        ),
    ] {
        let error = read(file, &[(column, take)]).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{part} is not in: {error}"));
    }
    // Pictures are no table.
    assert!(!is_table(&at("../parquet/snappy.parquet")));
}

proptest! {
    #[test]
    fn damage_anywhere_is_an_error_or_another_table_and_never_a_panic(place in 0usize..4000, byte in any::<u8>()) {
        let mut bytes = std::fs::read(at("zstd.parquet")).unwrap();
        let place = place % bytes.len();
        bytes[place] = byte;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, bytes).unwrap();
        let wanted = [("whole".to_string(), Take::Numbers), ("word".to_string(), Take::Words)];
        let _ = Table::read(&path, &TableOptions::default(), &wanted);
    }
}
