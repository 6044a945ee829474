//! The configuration as JSON Schema (draft 2020-12), built from the catalogue: completion in editors.

use ebm::core::{Family, Param, ParamKind, catalogue};
use serde_json::{Map, Value, json};

/// The schema of a run's configuration with the plugins that are linked.
pub(crate) fn schema() -> Value {
    let mut families = Map::new();
    for family in Family::ALL {
        let kinds: Vec<Value> = catalogue::components()
            .into_iter()
            .filter(|c| c.family == family)
            .map(|c| {
                let mut table = table(c.params);
                table["properties"]["kind"] = json!({ "const": c.kind });
                table["description"] = json!(c.summary);
                if let Some(required) = table["required"].as_array_mut() {
                    required.insert(0, json!("kind"));
                }
                table
            })
            .collect();
        families.insert(family.name().into(), json!({ "oneOf": kinds }));
    }
    let mut whole = table(ebm::train::RUN_SECTIONS);
    whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    whole["title"] = json!("configuration of an ebm run");
    whole["$defs"] = Value::Object(families);
    whole
}

fn table(params: &[Param]) -> Value {
    let properties: Map<String, Value> = params.iter().map(|p| (p.name.to_string(), setting(p))).collect();
    let required: Vec<&str> = params.iter().filter(|p| p.default.is_none()).map(|p| p.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn setting(p: &Param) -> Value {
    let part = |family: Family| json!({ "$ref": format!("#/$defs/{}", family.name()) });
    let mut schema = match p.kind {
        ParamKind::Bool => json!({ "type": "boolean" }),
        ParamKind::Int => number(p, "integer"),
        ParamKind::Float => number(p, "number"),
        ParamKind::Text => json!({ "type": "string" }),
        ParamKind::Ints => json!({ "type": "array", "items": number(p, "integer") }),
        ParamKind::Floats => json!({ "type": "array", "items": number(p, "number") }),
        ParamKind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        ParamKind::Given => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }, { "type": "array", "items": { "type": "number" } }] })
        }
        ParamKind::Choice(words) => json!({ "enum": words }),
        ParamKind::Part(family) => part(family),
        ParamKind::Parts(family) => json!({ "type": "array", "items": part(family) }),
        ParamKind::Table(inner) => table(inner),
        ParamKind::Tables(inner) => json!({ "type": "array", "items": table(inner) }),
    };
    schema["description"] = match p.unit {
        Some(unit) => json!(format!("{} ({unit})", p.doc)),
        None => json!(p.doc),
    };
    let default = p.default.filter(|d| *d != "none");
    let read = default.and_then(|d| format!("v = {d}").parse::<toml::Table>().ok());
    if let Some(value) = read.and_then(|t| serde_json::to_value(&t["v"]).ok()) {
        schema["default"] = value;
    }
    schema
}

fn number(p: &Param, kind: &str) -> Value {
    let mut schema = json!({ "type": kind });
    if let Some((low, open)) = p.low {
        schema[if open { "exclusiveMinimum" } else { "minimum" }] = json!(low);
    }
    if let Some((high, open)) = p.high {
        schema[if open { "exclusiveMaximum" } else { "maximum" }] = json!(high);
    }
    schema
}
