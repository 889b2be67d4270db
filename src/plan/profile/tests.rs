//! What a policy file may say, what it may not, and that the schema agrees.

use super::*;
use std::collections::BTreeSet;

fn one(text: &str) -> Profile {
    parse("f", text.as_bytes()).unwrap().pop().unwrap()
}

#[track_caller]
fn wrong(text: &str, message: &str, hint: &str) {
    let error = parse("f", text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), format!("policy \"f\", {message}"));
    assert_eq!(error.hint_text(), Some(hint));
    assert_eq!(error.exit_code(), 125);
}

fn settings(profile: &Profile) -> Vec<(&str, usize, &str)> {
    profile.settings.iter().map(|s| (s.key.name, s.line, s.value.as_str())).collect()
}

/// The form of requirements R4, as it stands there.
const R4: &str = r#"policies:
  python:
    image: "python:3.11-slim"
    memory: "512m"
    cpus: "1.0"
    network: "none"
    readonly: true
    tmpfs: ["/tmp"]
  node:
    image: "node:18-slim"
    memory: "512m"
    cpus: "1.0"
    network: "bridge"
    readonly: true
    tmpfs: ["/tmp"]
"#;

#[test]
fn the_form_of_the_agents_is_read_unchanged() {
    let all = parse("f", R4.as_bytes()).unwrap();
    assert_eq!(all.len(), 2);
    let python = select("f", &all, Some("python")).unwrap();
    assert_eq!(python.image.as_deref(), Some("python:3.11-slim"));
    assert_eq!(
        settings(python),
        [
            ("memory", 4, "512m"),
            ("cpus", 5, "1.0"),
            ("read-only", 7, "true"),
            ("tmpfs", 8, "/tmp"),
            ("network", 6, "none"),
        ]
    );
    assert_eq!(select("f", &all, Some("node")).unwrap().settings.len(), 5);
}

#[test]
fn one_policy_of_several_is_named() {
    let all = parse("f", R4.as_bytes()).unwrap();
    let error = |name| {
        let e = select("f", &all, name).unwrap_err();
        format!("{e} / {}", e.hint_text().unwrap())
    };
    assert_eq!(
        error(None),
        "policy \"f\": it holds 2 policies and none was named / add # and a name of \"python\", \
         \"node\""
    );
    assert_eq!(
        error(Some("pyhton")),
        "policy \"f\": it has no policy \"pyhton\" / did you mean python?"
    );
    assert_eq!(
        error(Some("")),
        "policy \"f\": it has no policy \"\" / it has \"python\", \"node\""
    );
    let single = parse("f", b"policies: {a: {memory: 1g}}").unwrap();
    assert_eq!(select("f", &single, None).unwrap().name.as_deref(), Some("a"));
    let plain = parse("f", b"memory: 1g").unwrap();
    assert!(select("f", &plain, None).is_ok());
    let e = select("f", &plain, Some("a")).unwrap_err();
    assert!(e.to_string().contains("it is a single policy"), "{e}");
}

#[test]
fn h43_an_unknown_key_is_named_with_its_line_and_the_nearest() {
    wrong("description: x\nmemroy: 1g\n", "line 2: unknown key \"memroy\"", "did you mean memory?");
    wrong(
        "policies:\n  a:\n    cpus: 1\n    tmpsf: /x\n",
        "line 4: unknown key \"tmpsf\"",
        "did you mean tmpfs?",
    );
    wrong("read-onyl: true\n", "line 1: unknown key \"read-onyl\"", "did you mean read-only?");
    wrong("writable: true\n", "line 1: unknown key \"writable\"", "write read-only: false");
    wrong(
        "restrict:\n  thread: true\n",
        "line 2: unknown key \"thread\" of restrict",
        "it has one: threads: true or threads: false, indented",
    );
    wrong(
        "policies: {a: {}}\nmemory: 1g\n",
        "line 2: the key \"memory\" stands beside policies",
        "write it in the policies that need it",
    );
    wrong(
        "\"a\\e[31m\": 1\n",
        "line 1: unknown key \"a\\u{1b}[31m\"",
        "keys are the options of stockade jail without --: stockade policy schema lists them",
    );
}

#[test]
fn a_key_that_is_there_twice_is_an_error() {
    wrong(
        "memory: 1g\ncpus: 1\nmemory: 2g\n",
        "line 3: the key \"memory\" is there twice, first in line 1",
        "leave one of them out",
    );
    wrong(
        "readonly: true\nread-only: false\n",
        "line 2: read-only is there twice, first in line 1",
        "leave one of them out",
    );
    wrong(
        "policies:\n  a: {}\n  a: {}\n",
        "line 3: the key \"a\" is there twice, first in line 2",
        "leave one of them out",
    );
}

#[test]
fn a_value_of_the_wrong_form_is_an_error() {
    let switch = "write true or false, without quotes";
    wrong("init: yes\n", "line 1: init is true or false, and not \"yes\"", switch);
    wrong("init: \"true\"\n", "line 1: init is true or false, and not \"true\"", switch);
    wrong("memory: [1g]\n", "line 1: memory has a list", "give it a single value");
    wrong("memory: {a: b}\n", "line 1: memory has a mapping", "give it a single value");
    wrong("memory:\n", "line 1: memory has no value", "give it one, or leave memory out");
    wrong("tmpfs: {/a: x}\n", "line 1: tmpfs has a mapping", "give it a list or a single value");
    wrong("tmpfs:\n  - /a\n  -\n", "line 3: tmpfs has no value", "give it a value behind each -");
    wrong("restrict: true\n", "line 1: restrict has a single value", RESTRICT);
    wrong("restrict: {}\n", "line 1: restrict does not say threads", RESTRICT);
    wrong(
        "env:\n  A: 1\n  B:\n",
        "line 3: \"B\" of env has no value",
        "nothing is taken from the caller's environment; \"\" is an empty one",
    );
    wrong("env: {A: [1]}\n", "line 1: \"A\" has a list", "give it text");
    wrong("- memory\n", "line 1: it is a list", "write keys and values, such as memory: 256m");
    wrong(
        "policies:\n",
        "line 1: behind policies is nothing",
        "write a name and, indented, its keys",
    );
    wrong(
        "policies: {a: x}\n",
        "line 1: the policy \"a\" is a single value",
        "write its keys, indented",
    );
    wrong(
        "policies: {a/b: {}}\n",
        "line 1: \"a/b\" is no name of a policy",
        "use letters, digits and _ . -",
    );
    wrong(
        "cpus: 1\ninterpreter: [sh]\n",
        "line 2: interpreter without require_signature",
        "leave it out: the command is given when the policy is used",
    );
}

const RESTRICT: &str = "give it threads: true or threads: false, indented";

#[test]
fn what_a_policy_may_hold_is_read() {
    let p = one("description: d\nrestrict: {threads: true}\nrequire_signature: k.pub\n\
         interpreter: [python3, -I]\nenv: {A: 1, B: \"\"}\nenv-file: e\nvolume:\n- /a:/b\n- /c:/d:ro\n");
    assert_eq!(p.description.as_deref(), Some("d"));
    assert_eq!(p.restricted, Some(Restricted { threads: true }));
    assert_eq!(p.require_signature, Some(("k.pub".to_owned(), 3)));
    assert_eq!(p.interpreter, ["python3", "-I"]);
    // env comes after env-file, as on the command line.
    assert_eq!(
        settings(&p),
        [
            ("volume", 8, "/a:/b"),
            ("volume", 9, "/c:/d:ro"),
            ("env-file", 6, "e"),
            ("env", 5, "A=1"),
            ("env", 5, "B="),
        ]
    );
}

// --- the schema ------------------------------------------------------------------------------

fn valid(instance: &serde_json::Value) -> std::result::Result<(), String> {
    let mut compiler = boon::Compiler::new();
    let mut schemas = boon::Schemas::new();
    compiler.add_resource("schema.json", schema::schema()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).expect("the schema is one");
    schemas.validate(instance, index).map_err(|e| e.to_string())
}

/// As an editor reads YAML: plain words may be numbers and booleans.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        value if value.is_null() => serde_json::Value::Null,
        Value::Scalar(text, true) if text == "true" || text == "false" => (text == "true").into(),
        Value::Scalar(text, plain) => match text.parse::<f64>() {
            Ok(n) if *plain => n.into(),
            _ => text.as_str().into(),
        },
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|(k, _, node)| (k.clone(), json(node))).collect(),
    }
}

fn by_schema(text: &str) -> std::result::Result<(), String> {
    valid(&json(&yaml::parse(text.as_bytes()).unwrap()))
}

#[test]
fn the_embedded_profiles_and_the_agents_form_are_valid_by_the_schema() {
    for (name, text) in EMBEDDED {
        by_schema(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let all = parse(name, text.as_bytes()).unwrap();
        assert!(all.len() == 1 && all[0].description.is_some(), "{name}");
    }
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        by_schema(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        parse("f", text.as_bytes()).unwrap();
        count += 1;
    }
    assert!(count >= 5);
    by_schema(R4).unwrap();
    let about = schema::schema()["$defs"]["policy"]["properties"]["network"]["description"].clone();
    assert!(about.as_str().unwrap().contains("bridge, of other engines, is refused at run time"));
    let other = R4.replace("bridge", "overlay");
    assert!(by_schema(&other).unwrap_err().contains("/policies/node/network"));
    by_schema("policies: {a: , b: {memory: 1g}}").unwrap();
}

#[test]
fn h43_the_schema_knows_the_keys_that_the_parser_knows() {
    let schema = schema::schema();
    let known: BTreeSet<&str> = schema["$defs"]["policy"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let table: BTreeSet<&str> =
        keys::KEYS.iter().flat_map(|k| [Some(k.name), k.alias]).flatten().collect();
    assert_eq!(known, table);
    // Each with a value of its form is taken by both.
    for name in table {
        let key = keys::find(name).unwrap();
        let values: &[&str] = match key.form {
            Form::Text => &["text"],
            Form::Amount => &["1", "1m", "\"1\""],
            Form::Switch => &["true", "false"],
            Form::Choice(words) => words,
            Form::List => &["a", "[a, 1]", "[]"],
            Form::Pairs => &["A=1", "[A=1]", "{A: 1, B: true}"],
            Form::Restrict => &["{threads: false}"],
        };
        for value in values {
            let more = if name == "interpreter" { "require_signature: k\n" } else { "" };
            let text = format!("{name}: {value}\n{more}");
            by_schema(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            parse("f", text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
}

#[test]
fn what_the_parser_refuses_the_schema_refuses_too() {
    for text in [
        "memroy: 1g",
        "init: yes",
        "init: \"true\"",
        "memory: [1g]",
        "memory:",
        "tmpfs: {/a: x}",
        "tmpfs: [[a]]",
        "restrict: true",
        "restrict: {}",
        "restrict: {threads: true, x: 1}",
        "env: {A: [1]}",
        "env: {A: }",
        "env: {A=B: 1}",
        "policies:",
        "policies: {}",
        "policies: {a: x}",
        "policies: {a/b: {}}",
        "policies: {a: {}}\nmemory: 1g",
        "policies: {a: {memroy: 1}}",
        "interpreter: [sh]",
        "readonly: true\nread-only: true",
        "[memory]",
    ] {
        assert!(by_schema(text).is_err(), "by the schema: {text}");
        assert!(parse("f", text.as_bytes()).is_err(), "by the parser: {text}");
    }
}
