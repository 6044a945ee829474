//! What a user reads when a configuration is wrong: the whole messages, word for word.

#![allow(clippy::unwrap_used)]

use ebm::inputs::Inputs;
use ebm::measure::{SampleMeasureOptions, Subject, measure_samples};
use ebm::{Error, Source};
use ebm_plugins as _;

const GOOD: &str = r#"format = 1
[run]
name = "t"
steps = 10
[data]
kind = "digits"
[energy]
kind = "mlp"
hidden = [8]
[sampler]
kind = "chain"
steps = 2
transition = { kind = "langevin", step_size = 1.0, noise = 0.03 }
[objective]
kind = "contrastive"
[optimiser]
kind = "adam"
rate = 1e-3
"#;

/// The message for the good configuration with `from` replaced by `to`.
fn message(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "`{from}` stands once in the good text");
    let e = Source::text("run.toml", GOOD.replace(from, to)).read().unwrap_err();
    assert!(matches!(e, Error::Config(_)), "{e:?}");
    e.to_string()
}

#[test]
fn the_good_one_is_good() {
    Source::text("run.toml", GOOD).read().unwrap();
    Source::quick_start().read().unwrap();
}

#[test]
fn an_unknown_setting_is_named_with_its_neighbours() {
    assert_eq!(
        message("noise = 0.03", "nois = 0.03"),
        "sampler.transition.nois: transition `langevin` has no setting `nois`, did you mean `noise` or `noise_first`?; \
         it has `step_size`, `noise`, `noise_first`, `clamp`, `move_limit` (run.toml:13)\n  \
         13 | transition = { kind = \"langevin\", step_size = 1.0, nois = 0.03 }\n     \
            |                                                    ^^^^"
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    assert_eq!(
        message("step_size = 1.0", "step_size = -1.0"),
        "sampler.transition.step_size: found the number -1.0, wanted a number > 0 (run.toml:13)\n  \
         13 | transition = { kind = \"langevin\", step_size = -1.0, noise = 0.03 }\n     \
            |                                               ^^^^"
    );
    assert!(
        message("hidden = [8]", "hidden = [8, 0]").starts_with(
            "energy.hidden[1]: found the whole number 0, wanted a whole number ≥ 1 (run.toml:9)"
        )
    );
}

#[test]
fn a_value_of_another_type_is_named_with_what_was_wanted() {
    assert_eq!(
        message("steps = 10", "steps = \"10\""),
        "run.steps: found the text \"10\", wanted a whole number ≥ 1 (run.toml:4)\n  \
         4 | steps = \"10\"\n    \
           |         ^^^^"
    );
    assert!(message("steps = 2", "steps = 2.5").contains("found the number 2.5, wanted a whole number"));
    assert!(
        message("hidden = [8]", "activation = \"swosh\"")
            .contains("found the text \"swosh\", wanted one of \"swish\"")
    );
    assert!(
        message("transition = { kind", "transition = 3 #")
            .contains("wanted a table with the `kind` of a transition")
    );
}

#[test]
fn an_unknown_kind_is_named_with_neighbours_linked_crates_and_the_line_that_links() {
    let text = message("kind = \"mlp\"", "kind = \"mpl\"");
    assert!(text.starts_with("energy.kind: no energy of the kind `mpl`, did you mean `mlp`"), "{text}");
    for part in ["ebm-energies-net (", "`use my_plugin as _;`", "(run.toml:8)\n  8 | kind = \"mpl\"\n"] {
        assert!(text.contains(part), "{text}");
    }
    let text = message("kind = \"mlp\"", "kind = \"langevin\"");
    assert!(text.contains("there is one in the family transition"), "{text}");
}

#[test]
fn what_is_missing_is_named_at_the_table_it_misses_in() {
    assert_eq!(
        message("rate = 1e-3\n", ""),
        "optimiser.rate: missing, wanted a number > 0 (learning rate) (run.toml:16)\n  16 | [optimiser]\n     | ^^^^^^^^^^^"
    );
    assert!(
        message("kind = \"chain\"\n", "")
            .starts_with("sampler.kind: missing, wanted the name of a sampler: `chain`")
    );
    assert!(message("[objective]\nkind = \"contrastive\"\n", "").starts_with("objective: missing"));
}

#[test]
fn all_that_is_wrong_comes_at_once_in_the_order_of_the_text() {
    let text = GOOD
        .replace("steps = 10", "steps = 0")
        .replace("rate = 1e-3", "rte = 1e-3")
        .replace("= 2\n", "= true\n");
    let e = Source::text("run.toml", text).read().unwrap_err().to_string();
    let paths: Vec<&str> =
        e.lines().filter(|l| !l.starts_with(' ')).map(|l| l.split(':').next().unwrap()).collect();
    assert_eq!(paths, ["run.steps", "sampler.steps", "optimiser.rate", "optimiser.rte"], "{e}");
}

#[test]
fn text_that_is_no_toml_is_shown() {
    let text = message("steps = 10", "steps = ");
    assert!(
        text.starts_with("this is not TOML: ") && text.contains("(run.toml:4)\n  4 | steps = \n"),
        "{text}"
    );
}

#[test]
fn another_format_and_a_command_line_change_are_named_as_written() {
    assert!(
        message("format = 1", "format = 2")
            .starts_with("format: found the whole number 2, wanted a whole number ≥ 1 and ≤ 1 (run.toml:1)")
    );
    let source = Source::text("run.toml", GOOD).with(["sampler.steps=many"]).unwrap();
    assert_eq!(
        source.read().unwrap_err().to_string(),
        "sampler.steps: found the text \"many\", wanted a whole number ≥ 1 and ≤ 10000000 (from sampler.steps=many)"
    );
}

#[test]
fn what_only_a_builder_can_see_has_its_line_too() {
    // An image network on points of the plane.
    let text = GOOD
        .replace("kind = \"digits\"", "kind = \"toy2d\"\nname = \"moons\"")
        .replace("kind = \"mlp\"\nhidden = [8]", "kind = \"conv-net\"");
    let e = ebm::run::check(&Source::text("run.toml", text), false).unwrap_err();
    assert!(matches!(e, Error::Config(_)), "{e:?}");
    let text = e.to_string();
    assert!(text.contains("(run.toml:8)") && text.contains("[2]") && text.contains("(C, H, W)"), "{text}");
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let e = Source::file("/no/such.toml").unwrap_err();
    assert!(matches!(e, Error::Unread { .. }), "{e:?}");
    assert!(e.to_string().starts_with("/no/such.toml: cannot read the configuration: "), "{e}");
}

#[test]
fn a_setting_of_a_call_is_named_as_its_field_and_not_as_a_flag() {
    let digits = Inputs::open("digits").unwrap();
    let refused =
        |options: SampleMeasureOptions| measure_samples(&Subject::Set(&digits), &options).unwrap_err();
    let e = refused(SampleMeasureOptions { count: 3, ..Default::default() });
    assert!(matches!(e, Error::Invalid { setting: "count", .. }), "{e:?}");
    assert_eq!(e.to_string(), "count 3: wanted at least 16");
    let e = refused(SampleMeasureOptions::default());
    assert_eq!(e.to_string(), "against: is missing; samples that are there need data to compare with");
    let there = tempfile::NamedTempFile::new().unwrap();
    let e = ebm::whole_file::free("out", there.path(), false).unwrap_err();
    assert!(matches!(e, Error::Output { setting: "out", why: ebm::Blocked::File, .. }), "{e:?}");
}
