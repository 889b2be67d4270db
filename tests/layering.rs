//! Who may import whom, and where `unsafe` may be: read from the source, so that it stays so.
//!
//! The rules are those of docs/architecture.md. Each one has a control: a made-up source that
//! breaks it and must be caught.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Most lines of code in a file: not blank, no comment, no test.
const LONGEST: usize = 400;

/// Files that are longer, each for a reason. Shorter ones must go from this list.
const LONGER: [(&str, &str); 0] = [];

/// Parts of the source by the beginning of the path, and what each may name as `crate::…`.
/// The first that fits counts.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("sys/", &["sys"]),
    ("wire.rs", &[]),
    ("plan/", &["plan", "error"]),
    ("child/", &["child", "sys", "wire"]),
    ("host/", &["host", "child", "plan", "sys", "wire", "error", "outcome"]),
    ("error.rs", &["error", "wire", "plan"]),
    ("outcome.rs", &["outcome"]),
    ("jail.rs", &["jail", "host", "plan", "sys", "error", "outcome"]),
    ("jail/", &["jail", "host", "plan", "sys", "error", "outcome"]),
    ("container.rs", &["host", "plan", "error"]),
    ("container/", &["host", "plan", "error"]),
    ("cli/", &["cli", "container", "jail", "host", "plan", "sys", "error", "outcome"]),
];

/// What must not stand in a part's code at all, and why.
const NEVER: [(&str, &[&str], &str); 3] = [
    (
        "plan/",
        &["std::fs", "std::env", "std::net", "std::process", "Instant::now", "SystemTime"],
        "the plan is pure: data in, data out",
    ),
    (
        "child/",
        &[
            "std::fs",
            "std::io",
            "std::thread",
            "std::sync",
            "format!",
            "vec!",
            "panic!",
            "assert",
            "print!",
            "println!",
            "unwrap()",
            "expect(",
            "Vec::",
            "String::",
            "Box::",
            "Rc::",
            "Arc::",
            "to_string(",
            "to_owned(",
            "to_vec(",
            "collect(",
            ".clone()",
            ".push(",
        ],
        "between clone and exec nothing may allocate, lock, format or panic",
    ),
    ("sys/", &["std::fs", "format!", "println!", "unwrap()", "expect("], "sys does not allocate"),
];

/// Public names of lib.rs by which a part could reach around the rules.
const ROOT_NAMES: [(&str, &str); 4] =
    [("Error", "error"), ("Kind", "error"), ("Result", "error"), ("Outcome", "outcome")];

/// A source file: its path below src, and its code without comments, strings and tests.
struct Source {
    path: String,
    code: String,
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), code: without_tests(&plain(text)) }
}

/// Blanks comments, strings and characters, line breaks kept.
fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        out.extend(bytes[from..to].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + find(rest, b"*/").map_or(rest.len(), |n| n + 2)
        } else if rest.starts_with(b"r\"") || rest.starts_with(b"r#") && raw_hashes(rest) > 0 {
            let hashes = raw_hashes(rest);
            let close: Vec<u8> = std::iter::once(b'"').chain(vec![b'#'; hashes]).collect();
            let body = at + 2 + hashes;
            body + find(&bytes[body..], &close).map_or(0, |n| n + close.len())
        } else if rest[0] == b'"' {
            quoted(bytes, at, b'"')
        } else if rest[0] == b'\'' && is_character(rest) {
            quoted(bytes, at, b'\'')
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        blank(&mut out, at, end);
        at = end;
    }
    String::from_utf8(out).expect("only whole comments and strings are blanked")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// The number of `#` of a raw string; 0 if this is none (`r#type` is an identifier).
fn raw_hashes(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) == Some(&b'"') { hashes } else { 0 }
}

/// A character, and no lifetime.
fn is_character(rest: &[u8]) -> bool {
    rest.get(1) == Some(&b'\\')
        || rest.iter().skip(2).take(4).any(|b| *b == b'\'') && {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(8)]).into_owned();
            text.chars().nth(1) == Some('\'')
        }
}

fn quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Cuts the test module, which is the last thing in a file.
fn without_tests(code: &str) -> String {
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(at) => code[..at].to_owned(),
        None => code.to_owned(),
    }
}

/// Modules that only test builds have: `#[cfg(test)] mod name;`.
fn test_modules(code: &str) -> Vec<String> {
    code.split("#[cfg(test)]\nmod ")
        .skip(1)
        .filter_map(|rest| rest.split_once(';').map(|(name, _)| name.trim().to_owned()))
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

/// All sources below src but test modules.
fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let texts: Vec<(PathBuf, String)> = files
        .into_iter()
        .map(|f| {
            let text = std::fs::read_to_string(&f).unwrap();
            (f, text)
        })
        .collect();
    let mut tests = BTreeSet::new();
    for (file, text) in &texts {
        for name in test_modules(&plain(text)) {
            // Beside a mod.rs, and below any other file's name.
            let is_mod = file.file_name().is_some_and(|n| n == "mod.rs");
            let file = if is_mod { file.clone() } else { file.with_extension("").join("x") };
            tests.insert(file.with_file_name(format!("{name}.rs")));
        }
    }
    let found: Vec<Source> = texts
        .iter()
        .filter(|(file, _)| !tests.contains(file))
        .map(|(file, text)| source(&file.strip_prefix(&src).unwrap().to_string_lossy(), text))
        .collect();
    assert!(found.len() > 40, "only {} files were found", found.len());
    found
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Modules that the code names below `crate::`, braces taken apart.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        // `$crate` of a macro is no different; `xcrate::` would be another name.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(list) => found.extend(heads(list)),
            None => found.extend(word(rest)),
        }
    }
    found
}

/// The first word of each item of `{a::b, c::{d, e}}`, from behind the opening brace.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.extend(word(list[start..at].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(word(list[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let name = &text[..end];
    let module = ROOT_NAMES.iter().find(|(n, _)| *n == name).map_or(name, |(_, m)| m);
    Some(module.to_owned())
}

/// What is wrong with a file's imports and names.
fn layering(file: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some((part, allowed)) = MAY_IMPORT.iter().find(|(p, _)| file.path.starts_with(p)) {
        for name in imports(&file.code) {
            if !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {part} may not import crate::{name}", file.path));
            }
        }
    }
    // `super` from the root of a part leads out of it.
    let is_root = file.path.ends_with("/mod.rs") && file.path.matches('/').count() == 1;
    if is_root && file.code.contains("super::") {
        wrong.push(format!("{}: super:: leads out of the directory", file.path));
    }
    for (part, words, why) in NEVER {
        if !file.path.starts_with(part) || file.path == "sys/guard.rs" {
            continue;
        }
        for word in words.iter().filter(|w| names(&file.code, w)) {
            wrong.push(format!("{}: {word} ({why})", file.path));
        }
    }
    wrong
}

/// Whether the code has this word, not as the end of a longer one.
fn names(code: &str, what: &str) -> bool {
    code.match_indices(what).any(|(at, _)| {
        let longer = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        !longer || what.starts_with('.')
    })
}

/// Whether `unsafe` is where it may not be; `forbid(unsafe_code)` is no use of it.
fn unsafe_outside_sys(file: &Source) -> bool {
    !file.path.starts_with("sys/")
        && file.code.match_indices("unsafe").any(|(at, _)| {
            !file.code[at..].starts_with("unsafe_")
                && !file.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        })
}

/// Whether the file, or a module that it lies below, forbids unsafe code.
fn forbids(file: &Source, all: &[Source]) -> bool {
    let has = |path: &str| {
        all.iter().any(|f| f.path == path && f.code.contains("#![forbid(unsafe_code)]"))
    };
    let above = Path::new(&file.path).ancestors().skip(1);
    has(&file.path) || above.map(|d| d.join("mod.rs")).any(|m| has(&m.to_string_lossy()))
}

fn lines_of_code(file: &Source) -> usize {
    file.code.lines().filter(|l| !l.trim().is_empty()).count()
}

#[test]
fn each_part_imports_only_what_it_may() {
    let wrong: Vec<_> = sources().iter().flat_map(layering).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_is_in_sys_alone() {
    let all = sources();
    for file in all.iter().filter(|f| !f.path.starts_with("sys/")) {
        assert!(!unsafe_outside_sys(file), "{} uses unsafe", file.path);
        // The root of the crate cannot forbid it for sys.
        let exempt = file.path == "lib.rs";
        assert!(exempt || forbids(file, &all), "{} does not forbid unsafe code", file.path);
    }
    assert!(all.iter().any(|f| f.path.starts_with("sys/") && f.code.contains("unsafe {")));
}

#[test]
fn files_are_short_enough_to_be_read() {
    let all = sources();
    let long: Vec<_> = all
        .iter()
        .map(|f| (f.path.as_str(), lines_of_code(f)))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    let longer: BTreeSet<_> = LONGER.iter().map(|(path, _)| *path).collect();
    let paths: BTreeSet<_> = long.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, longer, "files with more than {LONGEST} lines of code: {long:?}");
}

#[test]
fn control_a_forbidden_import_is_caught_in_every_form() {
    for code in [
        "use crate::host::probe;",
        "use crate::{error::Error, host::probe};",
        "use crate::{error::{Error, Kind}, sys::fs};",
        "fn f() { crate::child::enter(); }",
        "pub use crate::jail::Jail;",
        "use std::fs;",
        "fn f() { std::fs::read(\"x\"); }",
        "fn now() { let t = std::time::Instant::now(); }",
    ] {
        assert!(!layering(&source("plan/bad.rs", code)).is_empty(), "not caught: {code}");
    }
    for code in
        ["use crate::Error;", "fn f() { let s = format!(\"x\"); }", "use crate::plan::Plan;"]
    {
        assert!(!layering(&source("child/bad.rs", code)).is_empty(), "not caught: {code}");
    }
    assert!(!layering(&source("sys/bad.rs", "use crate::wire::Step;")).is_empty());
    assert!(!layering(&source("wire.rs", "use crate::sys::io;")).is_empty());
    assert!(!layering(&source("child/mod.rs", "use super::host;")).is_empty());
}

#[test]
fn control_what_is_allowed_is_not_caught() {
    for code in [
        "use crate::error::{Error, Kind};\nuse super::facts::Facts;",
        "// use crate::host::probe; std::fs\nfn f() {}",
        "/* std::fs */ fn f() { let s = \"crate::host \\\" std::fs\"; let c = '\"'; }",
        "fn f<'a>(x: &'a str) -> &'a str { x } // std::fs",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
        "fn f() { let s = r#\"crate::host \"quoted\" \"#; }",
    ] {
        assert_eq!(layering(&source("plan/good.rs", code)), Vec::<String>::new(), "{code}");
    }
}

#[test]
fn control_unsafe_and_length_are_caught() {
    assert!(unsafe_outside_sys(&source("host/bad.rs", "fn f() { unsafe { g() } }")));
    assert!(unsafe_outside_sys(&source("lib.rs", "unsafe extern \"C\" {}")));
    assert!(!unsafe_outside_sys(&source("host/good.rs", "#![forbid(unsafe_code)] // unsafe {")));
    assert!(!unsafe_outside_sys(&source("sys/good.rs", "fn f() { unsafe { g() } }")));
    let below = [source("host/mod.rs", "#![forbid(unsafe_code)]"), source("host/a/b.rs", "")];
    assert!(forbids(&below[1], &below));
    assert!(!forbids(&source("cli/c.rs", "// #![forbid(unsafe_code)]"), &below));
    assert_eq!(
        lines_of_code(&source("a.rs", "// no\n\nfn f() {\n}\n#[cfg(test)]\nmod tests {\n}")),
        2
    );
}
