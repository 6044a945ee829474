//! `#[derive(Settings)]` and `#[plugin]`: a setting is declared once, at its field.
//!
#![doc = include_str!("../README.md")]

mod attribute;
mod choice;
mod literal;
mod plugin;
mod table;

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, parse_macro_input};

/// Makes a struct of settings, or an enum of words, out of a declaration; see `ebm_core::Settings`.
#[proc_macro_derive(Settings, attributes(setting))]
pub fn settings(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let written = match &input.data {
        Data::Struct(data) => table::derive(&input, data),
        Data::Enum(data) => choice::derive(&input, data),
        Data::Union(data) => Err(Error::new_spanned(data.union_token, "settings are a struct or an enum")),
    };
    written.unwrap_or_else(Error::into_compile_error).into()
}

/// Makes the type of an `impl SomeConfig for Type` a kind of that family; see `ebm_core::plugin`.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(arguments.into(), item.into()).unwrap_or_else(Error::into_compile_error).into()
}

/// The module that the written code calls.
fn settings_module() -> proc_macro2::TokenStream {
    quote!(::ebm_core::settings)
}
