//! What stands at a field: its doc comment and `#[setting(...)]`.

use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Meta, Result, Token, meta::ParseNestedMeta};

/// The arguments of `#[setting(...)]`.
#[derive(Default)]
pub struct Setting {
    /// Its name in TOML, if not that of the field.
    pub name: Option<LitStr>,
    /// `default` alone is `Some(None)`: the default of the type.
    pub default: Option<Option<Expr>>,
    pub low: Option<Bound>,
    pub high: Option<Bound>,
    pub unit: Option<LitStr>,
    /// The words that a text may be.
    pub words: Option<Expr>,
    /// The field's own settings stand among those of the struct.
    pub flatten: bool,
    /// A list without entries is not written.
    pub omit_empty: bool,
}

/// An end of a range, and whether it is itself excluded.
pub struct Bound(pub Expr, pub bool);

impl Setting {
    pub fn of(attributes: &[Attribute]) -> Result<Setting> {
        let mut setting = Setting::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("setting")) {
            attribute.parse_nested_meta(|meta| setting.take(&meta))?;
        }
        Ok(setting)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(word) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(unknown(meta));
        };
        match word.as_str() {
            "default" if !meta.input.peek(Token![=]) => once(meta, &mut self.default, None),
            "default" => once(meta, &mut self.default, Some(meta.value()?.parse()?)),
            "at_least" | "above" => once(meta, &mut self.low, Bound(meta.value()?.parse()?, word == "above")),
            "at_most" | "below" => once(meta, &mut self.high, Bound(meta.value()?.parse()?, word == "below")),
            "unit" => once(meta, &mut self.unit, meta.value()?.parse()?),
            "name" => once(meta, &mut self.name, meta.value()?.parse()?),
            "words" => once(meta, &mut self.words, meta.value()?.parse()?),
            "flatten" => {
                self.flatten = true;
                Ok(())
            }
            "omit_empty" => {
                self.omit_empty = true;
                Ok(())
            }
            _ => Err(unknown(meta)),
        }
    }
}

fn unknown(meta: &ParseNestedMeta<'_>) -> Error {
    meta.error("a setting has `default`, `at_least`, `above`, `at_most`, `below`, `unit`, `words`, `name`, `flatten`, `omit_empty`")
}

fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("is given twice (a range has one lower and one upper end)")),
    }
}

/// The first paragraph of the doc comment, without the full stop.
pub fn summary(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|a| match &a.meta {
        Meta::NameValue(m) if m.path.is_ident("doc") => match &m.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_string()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<String> =
        lines.skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect();
    let text = paragraph.join(" ");
    text.strip_suffix('.').unwrap_or(&text).to_string()
}

/// Whether `#[name]` stands among the attributes.
pub fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|a| a.path().is_ident(name))
}

/// Arguments `word = value` of an attribute, after what stands before them.
pub type Named = Punctuated<syn::MetaNameValue, Token![,]>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syn::{DeriveInput, parse_quote};

    use super::*;

    fn refused(input: &DeriveInput) -> String {
        Setting::of(&input.attrs).err().unwrap().to_string()
    }

    #[test]
    fn a_word_that_no_setting_has_is_refused_with_those_it_has() {
        let text = refused(&parse_quote!(
            #[setting(default = 20, at_leest = 1)]
            struct A;
        ));
        assert!(text.contains("`at_least`") && text.contains("`flatten`"), "{text}");
    }

    #[test]
    fn an_end_of_a_range_is_given_once() {
        let text = refused(&parse_quote!(
            #[setting(at_least = 1, above = 0)]
            struct A;
        ));
        assert!(text.contains("given twice"), "{text}");
    }

    #[test]
    fn the_first_paragraph_is_the_help() {
        let input: DeriveInput = parse_quote! {
            /// Factor of the
            /// gradient.
            ///
            /// For readers of the source.
            struct A;
        };
        assert_eq!(summary(&input.attrs), "Factor of the gradient");
    }
}
