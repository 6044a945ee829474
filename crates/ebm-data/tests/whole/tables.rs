//! Tables as pyarrow and pandas write them (`scripts/make-table-goldens.py`), whole and damaged.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ebm_data::table::{Table, TableOptions, Take, is_index, is_table};
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

#[test]
fn times_days_decimals_and_halves_have_one_unit_whatever_they_are_stored_in() {
    let number = |file: &str, column: &str, row: usize| {
        read(file, &[(column, Take::Numbers)]).unwrap().number(row, 0).unwrap()
    };
    // Half past twelve, 15.25 seconds, on the first of March 2026 in UTC, as `date -u +%s` counts; a file's own seconds drop the rest.
    let moment: f64 = 1_772_368_215.25;
    for (file, column, wanted) in [
        ("typed.parquet", "seconds", moment.floor()),
        ("typed.parquet", "millis", moment),
        ("typed.parquet", "micros", moment),
        ("typed.parquet", "nanos", moment),
        ("int96.parquet", "nanos", moment),
        ("typed.parquet", "day", -2.0),
        ("typed.parquet", "time32", 23_400.5),
        ("typed.parquet", "time64", 23_400.5),
        ("typed.parquet", "price", -1.25),
        ("typed.parquet", "long", -12_345_678_901_234_567_890.5),
        ("decimals-short.parquet", "price", -1.25),
        ("decimals-short.parquet", "long", -12_345_678_901_234_567_890.5),
        ("decimals.parquet", "price", 1.25),
        ("typed.parquet", "half", 1.5),
        // A duration, whose unit is in the notes of pandas alone.
        ("index.parquet", "waited", 1.5),
    ] {
        // Thirty digits are rounded twice, to a double and by their scale; all else is exact.
        let off = (number(file, column, 0) - wanted).abs();
        assert!(
            off <= if column == "long" { 2.0 * f64::EPSILON * wanted.abs() } else { 0.0 },
            "{file} {column}: {off}"
        );
        assert!(is_table(&at(file)), "{file}");
    }
    assert_eq!(number("index.parquet", "waited", 1), 90.0);
    let words = read("decimals.parquet", &[("price", Take::Words)]).unwrap();
    assert_eq!(words.word(0, 0), Some("1.25"));
}

#[test]
fn the_index_of_pandas_is_known_by_its_name() {
    let names = Table::names(at("index.parquet"), &TableOptions::default()).unwrap();
    let index: Vec<bool> = names.iter().map(|n| is_index(n)).collect();
    assert_eq!((index, is_index("Unnamed: 0")), (vec![false, false, true], true));
    assert!(["__index_level_x__", "__index_level___", "Unnamed", "index"].iter().all(|n| !is_index(n)));
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
