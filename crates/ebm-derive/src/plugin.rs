//! `#[plugin]` on `impl SomeConfig for Type`: the kind's name for serde, and its entry in the catalogue.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ItemImpl, LitStr, Result, Token, parse2};

use crate::attribute::Named;

/// `"kind", source = "...", example = "..."`, and `summary = "..."` if it is not that of the settings.
struct Arguments {
    kind: LitStr,
    summary: Option<Expr>,
    source: Expr,
    example: Expr,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let kind: LitStr = input.parse()?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if kind.value().is_empty() || !kind.value().chars().all(plain) {
            return Err(Error::new_spanned(kind, "a kind is written in small letters, digits and `-`"));
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        let (mut summary, mut source, mut example) = (None, None, None);
        for given in Named::parse_terminated(input)? {
            let place = match given.path.get_ident().map(ToString::to_string).as_deref() {
                Some("summary") => &mut summary,
                Some("source") => &mut source,
                Some("example") => &mut example,
                _ => {
                    return Err(Error::new_spanned(
                        given.path,
                        "a plugin has `summary`, `source`, `example`",
                    ));
                }
            };
            *place = Some(given.value);
        }
        let missing = |what: &str| Error::new_spanned(&kind, format!("`{what} = \"...\"` is missing"));
        let source = source.ok_or_else(|| missing("source"))?;
        let example = example.ok_or_else(|| missing("example"))?;
        Ok(Arguments { kind, summary, source, example })
    }
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item: ItemImpl = parse2(item)?;
    let Arguments { kind, summary, source, example } = parse2(arguments)?;
    let Some((config, _)) = &item.trait_ else {
        return Err(Error::new_spanned(
            &item.self_ty,
            "wanted `impl EnergyConfig for` a type, or another family's",
        ));
    };
    let settings = &item.self_ty;
    let summary =
        summary.map_or_else(|| quote!(<#settings as ::ebm_core::Settings>::SUMMARY), |given| quote!(#given));
    Ok(quote! {
        const _: () = {
            use ::ebm_core::typetag;

            #[typetag::serde(name = #kind)]
            #item

            ::ebm_core::inventory::submit! {
                ::ebm_core::catalogue::Component {
                    family: <dyn #config as ::ebm_core::catalogue::InFamily>::FAMILY,
                    kind: #kind,
                    summary: #summary,
                    source: #source,
                    example: #example,
                    params: <#settings as ::ebm_core::Settings>::PARAMS,
                    origin: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                }
            }
        };
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(arguments: &str, item: &str) -> String {
        expand(arguments.parse().unwrap(), item.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_lacks_is_named() {
        let item = "impl EnergyConfig for Bowl {}";
        assert!(refused("\"bowl\", source = \"a\"", item).contains("example"));
        assert!(refused("\"Bowl\"", item).contains("small letters"));
        assert!(refused("\"bowl\", sauce = \"a\"", item).contains("`source`"));
        assert!(refused("\"bowl\", source = \"a\", example = \"\"", "impl Bowl {}").contains("EnergyConfig"));
    }
}
