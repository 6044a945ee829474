//! A struct of settings: its table, its serde form, its defaults and its check.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DataStruct, DeriveInput, Error, Field, Fields, Ident, Result, Type};

use crate::attribute::{Bound, Setting, summary};
use crate::literal;

/// One field as the parts of the code that speak of it.
struct Parsed<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    setting: Setting,
    /// Its name in TOML.
    name: String,
    doc: String,
}

impl<'a> Parsed<'a> {
    fn of(field: &'a Field) -> Result<Self> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "a setting has a name"));
        };
        let (setting, doc) = (Setting::of(&field.attrs)?, summary(&field.attrs));
        if doc.is_empty() && !setting.flatten {
            return Err(Error::new_spanned(ident, "a setting needs a doc comment: it is its help"));
        }
        let bounded = setting.low.as_ref().or(setting.high.as_ref());
        if let (true, Some(Bound(end, _))) = (setting.flatten || setting.words.is_some(), bounded) {
            return Err(Error::new_spanned(end, "only a number has a range"));
        }
        let name = setting.name.as_ref().map_or_else(|| ident.unraw().to_string(), syn::LitStr::value);
        Ok(Parsed { ident, ty: &field.ty, setting, name, doc })
    }

    /// The expression of the default, if there is one.
    fn default(&self) -> Option<TokenStream> {
        match self.setting.default.as_ref()? {
            Some(given) => Some(literal::value(given, self.ty)),
            None => Some(quote_spanned!(self.ty.span()=> ::core::default::Default::default())),
        }
    }

    /// The entry of the catalogue's table.
    fn param(&self) -> Result<TokenStream> {
        let (at, Parsed { ty, name, doc, setting, .. }) = (crate::settings_module(), self);
        let kind = match &setting.words {
            Some(words) => quote!(::ebm_core::ParamKind::Choice(#words)),
            None => quote_spanned!(ty.span()=> <#ty as #at::Setting>::KIND),
        };
        let default = match &setting.default {
            None => quote_spanned!(ty.span()=> <#ty as #at::Setting>::ABSENT),
            Some(None) => quote_spanned!(ty.span()=> <#ty as #at::Setting>::DEFAULT),
            Some(Some(given)) => {
                let text = literal::toml(given)?;
                quote!(Some(#text))
            }
        };
        let end = |Bound(end, open): &Bound| quote!(Some(((#end) as f64, #open)));
        let low = setting.low.as_ref().map_or(quote!(<#ty as #at::Setting>::LOW), end);
        let high = setting.high.as_ref().map_or(quote!(None), end);
        let unit = setting.unit.as_ref().map_or(quote!(None), |unit| quote!(Some(#unit)));
        Ok(quote! {
            ::ebm_core::Param {
                name: #name, kind: #kind, doc: #doc, default: #default, low: #low, high: #high, unit: #unit,
            }
        })
    }
}

pub fn derive(input: &DeriveInput, data: &DataStruct) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "settings have no generic parameters"));
    }
    let fields = match &data.fields {
        Fields::Named(fields) => fields.named.iter().map(Parsed::of).collect::<Result<Vec<_>>>()?,
        Fields::Unit => Vec::new(),
        Fields::Unnamed(fields) => return Err(Error::new_spanned(fields, "settings have names")),
    };
    let (flat, own): (Vec<_>, Vec<_>) = fields.iter().partition(|f| f.setting.flatten);
    let (at, type_name, doc) = (crate::settings_module(), &input.ident, summary(&input.attrs));

    let consts: Vec<_> = (0..own.len()).map(|i| format_ident!("SETTING{i}")).collect();
    let params = own.iter().map(|f| f.param()).collect::<Result<Vec<_>>>()?;
    // Tables in the order of the fields, those of flattened ones in their place.
    let mut next = consts.iter();
    let tables: Vec<_> = fields
        .iter()
        .map(|Parsed { ty, setting, .. }| match setting.flatten {
            true => quote!(<#ty as #at::Settings>::PARAMS),
            false => next.next().map(|c| quote!(&[#c])).unwrap_or_default(),
        })
        .collect();

    let (own_idents, own_types) = (idents(&own), types(&own));
    let own_names: Vec<_> = own.iter().map(|f| &f.name).collect();
    let (flat_idents, flat_types) = (idents(&flat), types(&flat));
    let absent = own.iter().map(|f| match f.default() {
        Some(value) => quote!(#value),
        None => {
            let (ty, name) = (f.ty, &f.name);
            quote!(<#ty as #at::Setting>::absent().ok_or(#name)?)
        }
    });
    let writes = fields.iter().map(|Parsed { ident, ty, name, setting, .. }| match setting.flatten {
        true => quote!(<#ty as #at::Settings>::put(&self.#ident, to);),
        false if setting.omit_empty => quote! {
            match self.#ident.is_empty() {
                true => #at::Put::put(to, #name, None),
                false => #at::put(to, #name, &self.#ident),
            }
        },
        false => quote!(#at::put(to, #name, &self.#ident);),
    });
    let checks =
        own.iter().zip(&consts).map(|(Parsed { ident, name, setting, .. }, param)| match setting.words {
            Some(_) => quote!(#at::check_word(&self.#ident, &#param).map_err(|e| e.inside(#name))?;),
            None => quote!(#at::Setting::check(&self.#ident, &#param).map_err(|e| e.inside(#name))?;),
        });
    let default = default_impl(type_name, &fields);

    Ok(quote! {
        const _: () = {
            #(const #consts: ::ebm_core::Param = #params;)*

            /// Settings read so far.
            #[doc(hidden)]
            #[derive(Default)]
            pub struct __Partial {
                #(#own_idents: Option<#own_types>,)*
                #(#flat_idents: <#flat_types as #at::Settings>::Partial,)*
            }

            impl #at::Settings for #type_name {
                const SUMMARY: &'static str = #doc;
                const PARAMS: &'static [::ebm_core::Param] = {
                    const TABLES: &[&[::ebm_core::Param]] = &[#(#tables),*];
                    const ALL: [::ebm_core::Param; #at::total(TABLES)] = #at::joined(TABLES);
                    &ALL
                };
                type Partial = __Partial;

                fn take(
                    into: &mut __Partial,
                    name: &str,
                    from: &mut dyn #at::erased_serde::Deserializer<'_>,
                ) -> ::core::result::Result<bool, #at::erased_serde::Error> {
                    match name {
                        #(#own_names => #at::once(&mut into.#own_idents, #own_names, from),)*
                        _ => Ok(false #(|| <#flat_types as #at::Settings>::take(&mut into.#flat_idents, name, from)?)*),
                    }
                }

                fn finish(from: __Partial) -> ::core::result::Result<Self, &'static str> {
                    Ok(#type_name {
                        #(#own_idents: match from.#own_idents {
                            Some(given) => given,
                            None => #absent,
                        },)*
                        #(#flat_idents: <#flat_types as #at::Settings>::finish(from.#flat_idents)?,)*
                    })
                }

                fn put(&self, to: &mut dyn #at::Put) {
                    #(#writes)*
                }
            }

            impl #at::Check for #type_name {
                fn check(&self) -> ::core::result::Result<(), #at::Misfit> {
                    #(#checks)*
                    #(#at::Check::check(&self.#flat_idents)?;)*
                    Ok(())
                }
            }

            impl #at::Setting for #type_name {
                const KIND: ::ebm_core::ParamKind = ::ebm_core::ParamKind::Table(<Self as #at::Settings>::PARAMS);
                const DEFAULT: Option<&'static str> = Some("{}");

                fn check(&self, _: &::ebm_core::Param) -> ::core::result::Result<(), #at::Misfit> {
                    #at::Check::check(self).map_err(#at::Misfit::of_table)
                }
            }

            impl #at::serde::Serialize for #type_name {
                fn serialize<S: #at::serde::Serializer>(&self, to: S) -> ::core::result::Result<S::Ok, S::Error> {
                    #at::write(self, to)
                }
            }

            impl<'de> #at::serde::Deserialize<'de> for #type_name {
                fn deserialize<D: #at::serde::Deserializer<'de>>(
                    from: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #at::read(from)
                }
            }

            #default
        };
    })
}

fn idents<'a>(fields: &[&'a Parsed<'a>]) -> Vec<&'a Ident> {
    fields.iter().map(|f| f.ident).collect()
}

fn types<'a>(fields: &[&'a Parsed<'a>]) -> Vec<&'a Type> {
    fields.iter().map(|f| f.ty).collect()
}

/// `Default`, if no setting must be given; an optional one is absent.
fn default_impl(type_name: &Ident, fields: &[Parsed<'_>]) -> TokenStream {
    let values: Option<Vec<_>> = fields
        .iter()
        .map(|f| {
            let (ident, optional) = (f.ident, literal::is_option(f.ty));
            let value = f.default().or_else(|| optional.then(|| quote!(None)))?;
            Some(quote!(#ident: #value))
        })
        .collect();
    let Some(values) = values else { return TokenStream::new() };
    quote! {
        impl ::core::default::Default for #type_name {
            fn default() -> Self {
                #type_name { #(#values),* }
            }
        }
    }
}
