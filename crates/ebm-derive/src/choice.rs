//! An enum without values is a choice of words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields, Result};

use crate::attribute::has;
use crate::literal::kebab;

pub fn derive(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let name = &input.ident;
    let (mut variants, mut words, mut default) = (Vec::new(), Vec::new(), None);
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(&variant.fields, "a choice is a word and holds no values"));
        }
        let word = kebab(&variant.ident.to_string());
        if has(&variant.attrs, "default") {
            default = Some(format!("{word:?}"));
        }
        variants.push(&variant.ident);
        words.push(word);
    }
    if words.is_empty() {
        return Err(Error::new_spanned(name, "a choice has at least one word"));
    }
    let default = default.map_or(quote!(None), |text| quote!(Some(#text)));
    Ok(quote! {
        const _: () = {
            use ::ebm_core::settings::{Choice, Misfit, Setting, choose, serde};

            impl Choice for #name {
                const ALL: &'static [(&'static str, Self)] = &[#((#words, #name::#variants)),*];
                const WORDS: &'static [&'static str] = &[#(#words),*];

                fn word(&self) -> &'static str {
                    match self {
                        #(#name::#variants => #words,)*
                    }
                }
            }

            impl Setting for #name {
                const KIND: ::ebm_core::ParamKind = ::ebm_core::ParamKind::Choice(<Self as Choice>::WORDS);
                const DEFAULT: Option<&'static str> = #default;

                fn check(&self, _: &::ebm_core::Param) -> ::core::result::Result<(), Misfit> {
                    Ok(())
                }
            }

            impl serde::Serialize for #name {
                fn serialize<S: serde::Serializer>(&self, to: S) -> ::core::result::Result<S::Ok, S::Error> {
                    to.serialize_str(Choice::word(self))
                }
            }

            impl<'de> serde::Deserialize<'de> for #name {
                fn deserialize<D: serde::Deserializer<'de>>(
                    from: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    choose(from)
                }
            }
        };
    })
}
