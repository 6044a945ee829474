//! Tables of numbers and words, and tables with pictures in them: CSV and Parquet.

mod columns;
pub mod csv;
pub mod parquet;
mod parquet_columns;
mod parquet_files;
mod parquet_labels;
mod parquet_numbers;
mod parquet_pages;
mod parquet_reader;
mod parquet_table;
mod quotes;
pub mod table;
