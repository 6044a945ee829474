//! The settings of configurations by their paths, and where two configurations differ.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// No more places are named.
const MOST: usize = 5;

/// The settings that differ between two configurations, such as `optimiser.rate` or `observer`, sorted; a few of them if
/// there are many. Nothing if one of the texts is no configuration.
pub(crate) fn differences(before: &str, now: &str) -> Vec<String> {
    let (Ok(before), Ok(now)) = (before.parse::<Table>(), now.parse::<Table>()) else { return Vec::new() };
    let mut found = Vec::new();
    tables("", &before, &now, &mut found);
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("{more} more"));
    }
    found
}

fn tables(at: &str, before: &Table, now: &Table, found: &mut Vec<String>) {
    let path = |key: &str| if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
    for (key, was) in before {
        match (was, now.get(key)) {
            (Value::Table(was), Some(Value::Table(is))) => tables(&path(key), was, is, found),
            (was, Some(is)) if was == is => {}
            // NaN is a number that some settings take, and no number is equal to it.
            (Value::Float(was), Some(Value::Float(is))) if was.is_nan() && is.is_nan() => {}
            (_, Some(_)) => found.push(path(key)),
            (_, None) => found.push(format!("{} (missing)", path(key))),
        }
    }
    found.extend(now.keys().filter(|key| !before.contains_key(*key)).map(|key| path(key)));
}

/// Every setting of a configuration by its path as `--set` takes it, such as `objective.terms[1].weight`, with its value as TOML.
/// Nothing if the text is no configuration.
pub(crate) fn settings(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let each = |(key, value): (&String, &Value)| leaves(key.clone(), value, &mut found);
    text.parse::<Table>().unwrap_or_default().iter().for_each(each);
    found
}

fn leaves(path: String, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, v)| leaves(format!("{path}.{key}"), v, found)),
        Value::Array(list) if list.iter().any(Value::is_table) => {
            list.iter().enumerate().for_each(|(i, v)| leaves(format!("{path}[{i}]"), v, found));
        }
        value => _ = found.insert(path, value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_each_member_of_a_list_have_paths_of_their_own() {
        let text = "format = 1\n[run]\nname = 'a'\n[[observer]]\nkind = 'csv'\n[[observer]]\nkind = 'jsonl'\n\
                    [objective]\nterms = [{ weight = 0.5, objective = { kind = 'kl' } }, { weight = 2 }]\nhidden = [\n  1,\n  2,\n]\n";
        let found: Vec<(String, String)> = settings(text).into_iter().collect();
        let want = [
            ("format", "1"),
            ("objective.hidden", "[1, 2]"),
            ("objective.terms[0].objective.kind", "\"kl\""),
            ("objective.terms[0].weight", "0.5"),
            ("objective.terms[1].weight", "2"),
            ("observer[0].kind", "\"csv\""),
            ("observer[1].kind", "\"jsonl\""),
            ("run.name", "\"a\""),
        ];
        assert_eq!(found, want.map(|(path, value)| (path.to_string(), value.to_string())));
        assert!(settings("= no").is_empty());
    }

    #[test]
    fn what_is_changed_missing_or_new_is_named() {
        let before = "[run]\nsteps = 3\n[a]\nx = 1\ny = { z = nan, w = 2 }\n[[observer]]\nkind = 'csv'\n";
        assert_eq!(differences(before, before), [""; 0]);
        let now = "[run]\nsteps = 4\n[a]\ny = { z = nan, w = 3, v = 1 }\n";
        assert_eq!(
            differences(before, now),
            ["a.x (missing)", "a.y.w", "a.y.v", "observer (missing)", "run.steps"]
        );
        let many: String = (0..9).map(|i| format!("k{i} = 1\n")).collect();
        assert_eq!(differences("", &many).last().map(String::as_str), Some("4 more"));
        assert_eq!(differences("= no", before), [""; 0]);
    }
}
