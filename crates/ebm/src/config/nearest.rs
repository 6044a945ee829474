//! Which known names a mistyped one may have meant.

/// The names nearest to `word`, best first, at most three and none that is very unlike.
///
/// Two similarities are added: Jaro–Winkler rewards a common beginning (`noise` for `noise_fist`), Damerau–Levenshtein
/// sees swapped letters as one mistake (`mlp` for `mpl`), which in short words the first does not.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .filter_map(|k| {
            let (start, edits) =
                (strsim::jaro_winkler(word, k), strsim::normalized_damerau_levenshtein(word, k));
            (start > 0.7 || edits > 0.5).then_some((start + edits, k))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.dedup_by_key(|(_, k)| *k);
    scored.truncate(3);
    scored.into_iter().map(|(_, k)| k).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers_are_found_and_strangers_left_out() {
        let known = ["mlp", "pull-back", "multi-scale", "temperature", "noise", "noise_first", "move_limit"];
        assert_eq!(closest("mpl", known), ["mlp"]);
        assert_eq!(closest("nois", known), ["noise", "noise_first"]);
        assert_eq!(closest("multiscale", known)[0], "multi-scale");
        assert!(closest("xyz", known).is_empty());
    }
}
