//! An enum without values is a choice of words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields, Result};

use crate::attribute::has;
use crate::literal::kebab;

pub fn derive(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let (at, name) = (crate::settings_module(), &input.ident);
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
            impl #at::Choice for #name {
                const ALL: &'static [(&'static str, Self)] = &[#((#words, #name::#variants)),*];
                const WORDS: &'static [&'static str] = &[#(#words),*];

                fn word(&self) -> &'static str {
                    match self {
                        #(#name::#variants => #words,)*
                    }
                }
            }

            impl #at::Setting for #name {
                const KIND: ::ebm_core::ParamKind = ::ebm_core::ParamKind::Choice(<Self as #at::Choice>::WORDS);
                const DEFAULT: Option<&'static str> = #default;

                fn check(&self, _: &::ebm_core::Param) -> ::core::result::Result<(), #at::Misfit> {
                    Ok(())
                }
            }

            impl #at::serde::Serialize for #name {
                fn serialize<S: #at::serde::Serializer>(&self, to: S) -> ::core::result::Result<S::Ok, S::Error> {
                    to.serialize_str(#at::Choice::word(self))
                }
            }

            impl<'de> #at::serde::Deserialize<'de> for #name {
                fn deserialize<D: #at::serde::Deserializer<'de>>(
                    from: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #at::choose(from)
                }
            }
        };
    })
}
