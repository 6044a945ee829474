//! Tables with pictures in them: Parquet.

pub mod parquet;
mod parquet_columns;
mod parquet_files;
mod parquet_labels;
mod parquet_pages;
