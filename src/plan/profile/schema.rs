//! The JSON schema of a policy file (draft 2020-12), for editors; made from the table of keys.

#![forbid(unsafe_code)]

use super::keys::{Form, KEYS, Key};
use serde_json::{Map, Value, json};

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut keys = Map::new();
    for key in KEYS {
        keys.insert(key.name.to_owned(), of(key));
        if let Some(alias) = key.alias {
            keys.insert(alias.to_owned(), of(key));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "stockade policy",
        "description": "What stockade jail --profile FILE reads",
        "type": "object",
        "if": {"required": ["policies"]},
        "then": {
            "properties": {
                "description": {"type": "string"},
                "policies": {
                    "description": "Several policies, each with its name: --profile FILE#NAME",
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[A-Za-z0-9_.-]+$"},
                    "additionalProperties": {
                        "anyOf": [{"$ref": "#/$defs/policy"}, {"type": "null"}],
                    },
                },
            },
            "additionalProperties": false,
        },
        "else": {"$ref": "#/$defs/policy"},
        "$defs": {
            "policy": {
                "type": "object",
                "properties": keys,
                "additionalProperties": false,
                "dependentRequired": {"interpreter": ["require_signature"]},
                // One of the two names.
                "not": {"required": ["read-only", "readonly"]},
            },
        },
    })
}

fn of(key: &Key) -> Value {
    let scalar = json!({"type": ["string", "number"]});
    let list = json!({"type": "array", "items": scalar});
    let mut schema = match key.form {
        Form::Text => json!({"type": "string"}),
        Form::Amount => scalar,
        Form::Switch => json!({"type": "boolean"}),
        Form::Choice(words) => json!({"enum": words}),
        Form::List => json!({"anyOf": [scalar, list]}),
        Form::Pairs => json!({"anyOf": [
            scalar,
            list,
            {
                "type": "object",
                "propertyNames": {"pattern": "^[^=]+$"},
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
        ]}),
        Form::Restrict => json!({
            "type": "object",
            "properties": {"threads": {"type": "boolean"}},
            "required": ["threads"],
            "additionalProperties": false,
        }),
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(key.about));
    }
    schema
}
