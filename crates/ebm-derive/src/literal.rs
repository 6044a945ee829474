//! A default is written once, in Rust, and read twice: as a value and as its TOML text.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, Expr, ExprLit, GenericArgument, Lit, PathArguments, Result, Type, UnOp};

/// The TOML text of a default.
pub fn toml(default: &Expr) -> Result<String> {
    let all = |list: Vec<Result<String>>| list.into_iter().collect::<Result<Vec<_>>>().map(|l| l.join(", "));
    Ok(match default {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => format!("{:?}", text.value()),
            Lit::Bool(word) => word.value.to_string(),
            Lit::Int(number) => number.base10_digits().to_string(),
            Lit::Float(number) => number.base10_digits().to_string(),
            other => return Err(not_a_default(other)),
        },
        Expr::Unary(minus) if matches!(minus.op, UnOp::Neg(_)) => format!("-{}", toml(&minus.expr)?),
        Expr::Array(list) => format!("[{}]", all(list.elems.iter().map(toml).collect())?),
        Expr::Struct(table) if table.rest.is_none() => {
            let entry =
                |f: &syn::FieldValue| Ok(format!("{} = {}", f.member.to_token_stream(), toml(&f.expr)?));
            format!("{{ {} }}", all(table.fields.iter().map(entry).collect())?)
        }
        Expr::Path(path) if path.path.segments.len() > 1 => {
            let last = path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
            format!("{:?}", kebab(&last))
        }
        other => return Err(not_a_default(other)),
    })
}

fn not_a_default(found: &dyn ToTokens) -> Error {
    Error::new_spanned(
        found,
        "a default is a literal, a choice such as `Scale::Main`, or a list or struct of these",
    )
}

/// The expression that makes a value of type `ty` out of a default: a list literal makes a `Vec`, a text a `String`.
pub fn value(default: &Expr, ty: &Type) -> TokenStream {
    match (default, last_segment(ty)) {
        (Expr::Array(list), Some((name, Some(inner)))) if name == "Vec" => {
            let all = list.elems.iter().map(|e| value(e, inner));
            quote!(::std::vec![#(#all),*])
        }
        (Expr::Lit(ExprLit { lit: Lit::Str(_), .. }), Some((name, _)))
            if name == "String" || name == "PathBuf" =>
        {
            quote!(<#ty as ::core::convert::From<&str>>::from(#default))
        }
        _ => default.to_token_stream(),
    }
}

/// `Vec<T>` as `("Vec", T)`, `String` as `("String", none)`.
fn last_segment(ty: &Type) -> Option<(String, Option<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().find_map(|a| match a {
            GenericArgument::Type(t) => Some(t),
            _ => None,
        }),
        _ => None,
    };
    Some((last.ident.to_string(), inner))
}

/// Whether a type is an `Option`.
pub fn is_option(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|(name, _)| name == "Option")
}

/// `LeakyRelu` as `leaky-relu`.
pub fn kebab(name: &str) -> String {
    let mut word = String::new();
    for (i, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && i > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(rust: &str) -> String {
        toml(&syn::parse_str(rust).unwrap()).unwrap()
    }

    #[test]
    fn defaults_read_as_toml() {
        assert_eq!(text("65_536"), "65536");
        assert_eq!(text("1e-8"), "1e-8");
        assert_eq!(text("-0.5"), "-0.5");
        assert_eq!(text("\"a\\\"b\""), "\"a\\\"b\"");
        assert_eq!(text("[0.0, 0.9]"), "[0.0, 0.9]");
        assert_eq!(text("Form::PublishedTraining"), "\"published-training\"");
        assert_eq!(text("[Layer { filters: 32, form: F::Bf16 }]"), "[{ filters = 32, form = \"bf16\" }]");
    }

    #[test]
    fn what_cannot_stand_in_toml_is_no_default() {
        for rust in ["f()", "SOME", "1 + 1", "Layer { ..rest }"] {
            let error = toml(&syn::parse_str(rust).unwrap()).unwrap_err().to_string();
            assert!(error.contains("a default is a literal"), "{rust}: {error}");
        }
    }
}
