//! What is mounted where: `--tmpfs`, `--volume` and `--mount`, in Docker's forms.
//!
//! The source of a bind mount is kept as it was typed (it may be relative to the caller's working
//! directory); a destination is made plain: absolute, no `.` or `..`, never the root itself. What
//! a path leads to, and whether a mount is allowed there (T7), is decided later.
//!
//! Not here on purpose: named and anonymous volumes (there is no volume store), SELinux labels,
//! and propagation other than private (T42). Each is an error that says so.
#![forbid(unsafe_code)]

use super::user::id;
use super::{Result, ValueError, csv, quote, size};

/// An in-memory file system. It is always nosuid and nodev.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tmpfs {
    /// Where; absolute and plain.
    pub dest: String,
    /// The most bytes it may hold; never zero, which would mean "no limit" to the kernel.
    pub size: Option<u64>,
    /// The most inodes it may hold; never zero.
    pub inodes: Option<u64>,
    /// Permissions of its root; no set-user-id or set-group-id bit.
    pub mode: Option<u32>,
    /// Owner of its root.
    pub uid: Option<u32>,
    /// Group of its root.
    pub gid: Option<u32>,
    /// `exec` or `noexec`, if typed; Docker's default is noexec.
    pub exec: Option<bool>,
    /// Nothing can be written to it.
    pub read_only: bool,
}

/// What happens to the mounts below the source of a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recursive {
    /// They are mounted too, and read-only like the mount itself. The default.
    #[default]
    Enabled,
    /// They are left out.
    Disabled,
    /// They are mounted too, and stay writable below a read-only mount.
    Writable,
    /// They are mounted too and made read-only, or the start fails.
    Readonly,
}

impl Recursive {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "enabled" => Self::Enabled,
            "disabled" => Self::Disabled,
            "writable" => Self::Writable,
            "readonly" => Self::Readonly,
            _ => return None,
        })
    }
}

/// A host directory or file made visible in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The host path as typed: starts with `/`, `./` or `../`, or is `.` or `..`.
    pub source: String,
    /// Where; absolute and plain.
    pub dest: String,
    /// Nothing can be written through it.
    pub read_only: bool,
    /// What happens to the mounts below.
    pub recursive: Recursive,
    /// False if `noidmap` was typed.
    pub idmap: bool,
}

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`
    Bind(Bind),
    /// `type=tmpfs`
    Tmpfs(Tmpfs),
}

/// The longest path, without its NUL, that the kernel takes.
const MAX_PATH: usize = 4095;

const NO_VOLUMES: &str = "named volumes are not supported";
const NO_PROPAGATION: &str = "mounts never propagate between container and host";
const NO_LABELS: &str = "SELinux labels are not supported";

fn destination(what: &str, path: &str) -> Result<String> {
    let bad = |why: &str| Err(ValueError::new(what, path, why));
    if !path.starts_with('/') {
        return bad("it is not an absolute path");
    }
    if path.contains('\0') || path.len() > MAX_PATH {
        return bad("it holds a NUL or is longer than 4095 bytes");
    }
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return bad("it holds \"..\"");
        }
        plain.push('/');
        plain.push_str(part);
    }
    if plain.is_empty() { bad("the root itself cannot be mounted over") } else { Ok(plain) }
}

fn source(what: &str, path: &str) -> Result<String> {
    let bad = |why: &str| ValueError::new(what, path, why);
    if path.contains('\0') || path.len() > MAX_PATH {
        return Err(bad("it holds a NUL or is longer than 4095 bytes"));
    }
    let is_path = ["/", "./", "../"].iter().any(|start| path.starts_with(start));
    if is_path || path == "." || path == ".." {
        return Ok(path.to_owned());
    }
    Err(match path {
        "" => bad("it is empty"),
        _ if path.starts_with('~') => bad("\"~\" is only known to the shell").hint("use $HOME"),
        _ => bad(NO_VOLUMES).hint(format!("use a path, such as {}", quote(&format!("./{path}")))),
    })
}

/// A limit that must not be zero, since that means "no limit" to a tmpfs.
fn limit(what: &str, value: &str) -> Result<u64> {
    match size::bytes(what, value)? {
        0 => Err(ValueError::new(what, value, "zero would mean no limit")),
        limit => Ok(limit),
    }
}

fn mode(value: &str) -> Result<u32> {
    let is_octal = value.len() <= 6 && value.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(value, 8) {
        Ok(mode) if is_octal && mode <= 0o1777 => Ok(mode),
        _ => Err(ValueError::new("tmpfs mode", value, "it is not an octal number up to 1777")
            .hint("use a mode such as 1777 or 0755")),
    }
}

/// Splits `key=value`.
fn pair(option: &str) -> (&str, Option<&str>) {
    option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)))
}

/// The error for an option that no arm of a `match` took.
fn unknown(what: &str, value: &str, option: &str, known: &[&str]) -> ValueError {
    let (key, argument) = pair(option);
    let shown = quote(key);
    let why = match argument {
        _ if option.is_empty() => "an option is empty".to_owned(),
        None if known.contains(&key) => format!("option {shown} needs a value"),
        Some(_) if known.contains(&key) => format!("option {shown} does not take that value"),
        _ => {
            return ValueError::new(what, value, format!("unknown option {shown}"))
                .suggest(key, known);
        }
    };
    ValueError::new(what, value, why)
}

fn repeated(what: &str, value: &str, option: &str) -> ValueError {
    let why = format!("option {} repeats or contradicts an earlier one", quote(option));
    ValueError::new(what, value, why)
}

const TMPFS_OPTIONS: [&str; 11] =
    ["size", "nr_inodes", "mode", "uid", "gid", "exec", "noexec", "ro", "rw", "nosuid", "nodev"];

/// `--tmpfs dest[:option,…]`
pub fn tmpfs(value: &str) -> Result<Tmpfs> {
    const WHAT: &str = "tmpfs";
    let (dest, options) = value.split_once(':').map_or((value, None), |(d, o)| (d, Some(o)));
    let mut out = Tmpfs { dest: destination("tmpfs destination", dest)?, ..Tmpfs::default() };
    let mut read_only = None;
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let again = match pair(option) {
            ("size", Some(text)) => out.size.replace(limit("tmpfs size", text)?).is_some(),
            ("nr_inodes", Some(text)) => {
                out.inodes.replace(limit("number of tmpfs inodes", text)?).is_some()
            }
            ("mode", Some(text)) => out.mode.replace(mode(text)?).is_some(),
            ("uid", Some(text)) => out.uid.replace(id("tmpfs uid", text)?).is_some(),
            ("gid", Some(text)) => out.gid.replace(id("tmpfs gid", text)?).is_some(),
            ("exec", None) => out.exec.replace(true).is_some(),
            ("noexec", None) => out.exec.replace(false).is_some(),
            ("ro", None) => read_only.replace(true).is_some(),
            ("rw", None) => read_only.replace(false).is_some(),
            ("nosuid" | "nodev", None) => false,
            (key @ ("suid" | "dev"), None) => {
                let why = format!("{key} is never granted: a tmpfs is always nosuid and nodev");
                return Err(ValueError::new(WHAT, value, why));
            }
            _ => return Err(unknown(WHAT, value, option, &TMPFS_OPTIONS)),
        };
        if again {
            return Err(repeated(WHAT, value, option));
        }
    }
    out.read_only = read_only.unwrap_or(false);
    Ok(out)
}

/// `--volume source:dest[:option,…]`
pub fn volume(value: &str) -> Result<Bind> {
    const WHAT: &str = "volume";
    let bad = |why: &str| ValueError::new(WHAT, value, why);
    let mut parts = value.split(':');
    let (Some(from), to, options, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("it has more than two colons")
            .hint("write a path with a colon as --mount type=bind,source=…,target=…"));
    };
    let Some(to) = to else {
        return Err(bad("it has no destination: anonymous volumes are not supported")
            .hint("use --tmpfs for an empty directory, or source:destination"));
    };
    let (source, dest) = (source("volume source", from)?, destination("volume destination", to)?);
    let (mut read_only, mut recursive, mut idmap) = (None, None, None);
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let again = match option {
            "ro" => read_only.replace(true).is_some(),
            "rw" => read_only.replace(false).is_some(),
            "rbind" => recursive.replace(Recursive::Enabled).is_some(),
            "bind" => recursive.replace(Recursive::Disabled).is_some(),
            "noidmap" => idmap.replace(false).is_some(),
            "z" | "Z" => return Err(bad(NO_LABELS)),
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                return Err(bad(NO_PROPAGATION).hint(format!("leave {option} out")));
            }
            "nocopy" => return Err(bad(NO_VOLUMES)),
            _ => {
                return Err(unknown(
                    WHAT,
                    value,
                    option,
                    &["ro", "rw", "rbind", "bind", "noidmap"],
                ));
            }
        };
        if again {
            return Err(repeated(WHAT, value, option));
        }
    }
    Ok(Bind {
        source,
        dest,
        read_only: read_only.unwrap_or(false),
        recursive: recursive.unwrap_or_default(),
        idmap: idmap.unwrap_or(true),
    })
}

const MOUNT_KEYS: [&str; 13] = [
    "type",
    "source",
    "src",
    "target",
    "destination",
    "dst",
    "readonly",
    "ro",
    "bind-recursive",
    "noidmap",
    "tmpfs-size",
    "tmpfs-mode",
    "bind-propagation",
];

/// `--mount type=bind,source=…,target=…[,key=value…]`, as CSV.
pub fn mount(value: &str) -> Result<Mount> {
    const WHAT: &str = "mount";
    let bad = |why: &str| ValueError::new(WHAT, value, why);
    let fields = csv(value).map_err(bad)?;
    let (mut kind, mut from, mut to, mut read_only) = (None, None, None, None);
    let (mut recursive, mut idmap) = (None, None);
    let mut tmpfs = Tmpfs::default();
    for field in &fields {
        let (key, argument) = pair(field);
        let key = key.to_ascii_lowercase();
        // A switch: alone, or with Docker's spellings of true and false.
        let switch = match argument {
            None | Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => None,
        };
        let again = match (key.as_str(), argument) {
            ("type", Some(text)) => kind.replace(text).is_some(),
            ("source" | "src", Some(text)) => from.replace(text).is_some(),
            ("target" | "destination" | "dst", Some(text)) => to.replace(text).is_some(),
            ("tmpfs-size", Some(text)) => tmpfs.size.replace(limit("tmpfs size", text)?).is_some(),
            ("tmpfs-mode", Some(text)) => tmpfs.mode.replace(mode(text)?).is_some(),
            ("bind-recursive", Some(text)) => match Recursive::from_name(text) {
                Some(found) => recursive.replace(found).is_some(),
                None => return Err(unknown(WHAT, value, field, &MOUNT_KEYS)),
            },
            ("bind-propagation", _) => return Err(bad(NO_PROPAGATION).hint("leave it out")),
            ("readonly" | "ro", _) if switch.is_some() => read_only.replace(switch).is_some(),
            ("noidmap", _) if switch.is_some() => idmap.replace(switch != Some(true)).is_some(),
            _ => return Err(unknown(WHAT, value, field, &MOUNT_KEYS)),
        };
        if again {
            return Err(repeated(WHAT, value, field));
        }
    }
    let Some(to) = to else { return Err(bad("it has no target").hint("add target=/path")) };
    let dest = destination("mount target", to)?;
    let read_only = read_only.flatten().unwrap_or(false);
    match kind {
        Some("bind") if tmpfs != Tmpfs::default() => Err(bad("a bind mount has no tmpfs options")),
        Some("bind") if recursive == Some(Recursive::Readonly) && !read_only => {
            Err(bad("bind-recursive=readonly needs readonly"))
        }
        Some("bind") => {
            let Some(from) = from else {
                return Err(bad("it has no source").hint("add source=/path"));
            };
            Ok(Mount::Bind(Bind {
                source: source("mount source", from)?,
                dest,
                read_only,
                recursive: recursive.unwrap_or_default(),
                idmap: idmap.unwrap_or(true),
            }))
        }
        Some("tmpfs") if from.is_some() => Err(bad("a tmpfs has no source")),
        Some("tmpfs") if recursive.is_some() || idmap.is_some() => {
            Err(bad("a tmpfs has no bind options"))
        }
        Some("tmpfs") => Ok(Mount::Tmpfs(Tmpfs { dest, read_only, ..tmpfs })),
        Some("volume") => Err(bad(NO_VOLUMES).hint("use type=bind with a path")),
        None => Err(bad("it has no type").hint("add type=bind or type=tmpfs")),
        Some(kind) => {
            Err(bad(&format!("unknown type {}", quote(kind))).suggest(kind, &["bind", "tmpfs"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, dest: &str) -> Bind {
        let (source, dest) = (source.to_owned(), dest.to_owned());
        Bind { source, dest, read_only: false, recursive: Recursive::Enabled, idmap: true }
    }

    fn why(error: &ValueError) -> String {
        format!("{error} / {}", error.hint.as_deref().unwrap_or("-"))
    }

    #[test]
    fn user_mounts_a_tmpfs() {
        let plain = Tmpfs { dest: "/tmp".to_owned(), ..Tmpfs::default() };
        assert_eq!(tmpfs("/tmp"), Ok(plain.clone()));
        assert_eq!(tmpfs("//tmp/./"), Ok(plain.clone()));
        let full = tmpfs("/tmp:size=64m,mode=1777,exec,nosuid,nodev,uid=1,gid=2,nr_inodes=1k,ro");
        let expected = Tmpfs {
            size: Some(64 << 20),
            inodes: Some(1024),
            mode: Some(0o1777),
            uid: Some(1),
            gid: Some(2),
            exec: Some(true),
            read_only: true,
            ..plain
        };
        assert_eq!(full, Ok(expected));
    }

    #[test]
    fn attacker_wants_more_from_a_tmpfs() {
        let words = "tmp / // /. /a/.. /tmp: /tmp:suid /tmp:dev /tmp:size=0 /tmp:size=50% \
            /tmp:nr_inodes=0 /tmp:mode=4777 /tmp:mode=9 /tmp:mode=+7 /tmp:mode= \
            /tmp:uid=4294967295 /tmp:uid=-1 /tmp:exec,noexec /tmp:ro,rw /tmp:size=1m,size=1g \
            /tmp:size /tmp:exec=1 /tmp:mpol=x /tmp:a:b";
        for bad in words.split_whitespace().chain(["", "/t\0"]) {
            assert!(tmpfs(bad).is_err(), "{bad:?}");
        }
        let error = tmpfs("/tmp:noexe").unwrap_err();
        assert!(why(&error).ends_with(r#"unknown option "noexe" / did you mean "noexec"?"#));
    }

    #[test]
    fn user_binds_a_directory() {
        assert_eq!(volume("/a:/b"), Ok(bind("/a", "/b")));
        assert_eq!(volume("./a:/b:rw"), Ok(bind("./a", "/b")));
        assert_eq!(volume("..:/b/:rbind"), Ok(bind("..", "/b")));
        let all = volume("../a:/b:ro,bind,noidmap");
        let changed = Bind {
            read_only: true,
            recursive: Recursive::Disabled,
            idmap: false,
            ..bind("../a", "/b")
        };
        assert_eq!(all, Ok(changed));
    }

    #[test]
    fn user_types_what_only_docker_has() {
        let error = volume("data:/x").unwrap_err();
        let text = r#"invalid volume source "data": named volumes are not supported / use a path, such as "./data""#;
        assert_eq!(why(&error), text);
        assert!(why(&volume("/x").unwrap_err()).contains("--tmpfs"));
        let words = ": :/x /a: /a:b /a:/ /a:/.. /a:/b/../.. /a:/b: /a:/b:ro,rw /a:/b:z /a:/b:Z \
            /a:/b:rshared /a:/b:nocopy /a:/b:ro:x /a:/b:suid ~:/b a/b:/c /a:/b:ro,ro";
        for bad in words.split_whitespace().chain(["", "/a\0:/b"]) {
            assert!(volume(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_writes_a_mount() {
        assert_eq!(mount("type=bind,source=/a,target=/b"), Ok(Mount::Bind(bind("/a", "/b"))));
        let read_only = Mount::Bind(Bind { read_only: true, ..bind("/a", "/b") });
        for text in ["readonly", "ro", "ro=true", "readonly=1", "RO"] {
            assert_eq!(mount(&format!("type=bind,src=/a,dst=/b,{text}")), Ok(read_only.clone()));
        }
        assert_eq!(mount("type=bind,src=/a,dst=/b,ro=false"), Ok(Mount::Bind(bind("/a", "/b"))));
        let odd =
            mount(r#"type=bind,"src=/a,b""c",destination=/b,noidmap,bind-recursive=writable"#);
        let recursive = Recursive::Writable;
        let expected = Bind { idmap: false, recursive, ..bind("/a,b\"c", "/b") };
        assert_eq!(odd, Ok(Mount::Bind(expected)));
        let (size, mode) = (Some(1 << 20), Some(0o700));
        let expected = Tmpfs { dest: "/t".to_owned(), size, mode, ..Tmpfs::default() };
        assert_eq!(
            mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700"),
            Ok(Mount::Tmpfs(expected))
        );
    }

    #[test]
    fn user_mistypes_a_mount() {
        let error = mount("type=bind,src=/a,dst=/b,readnoly").unwrap_err();
        assert!(why(&error).ends_with(r#"unknown option "readnoly" / did you mean "readonly"?"#));
        let words = "type=bind src=/a,dst=/b type=volume,src=a,dst=/b type=bnid,src=/a,dst=/b \
            type=bind,src=/a type=bind,dst=/b type=bind,src=a,dst=/b type=bind,src=/a,dst=b \
            type=bind,src=/a,dst=/ type=bind,src=/a,dst=/b, type=bind,src=/a,src=/c,dst=/b \
            type=bind,src=/a,source=/c,dst=/b type=bind,src=/a,dst=/b,ro=maybe type=tmpfs \
            type=bind,src=/a,dst=/b,ro,readonly=false type=tmpfs,src=/a,dst=/b type=tmpfs,dst=/ \
            type=bind,src=/a,dst=/b,tmpfs-size=1m type=tmpfs,dst=/b,noidmap \
            type=bind,src=/a,dst=/b,bind-propagation=shared type=tmpfs,dst=/b,tmpfs-mode=4755 \
            type=bind,src=/a,dst=/b,bind-recursive=readonly \
            type=bind,src=/a,dst=/b,bind-recursive=maybe type=bind,src=/a,dst=/b,type=bind";
        for bad in words.split_whitespace().chain([
            "",
            "\"type=bind",
            "type=bind,src=/a\"b,dst=/c",
            "\"type=bind\"x",
        ]) {
            assert!(mount(bad).is_err(), "{bad:?}");
        }
    }
}
