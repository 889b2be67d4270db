//! stockade's own annotations (`org.stockade.NAME`): what other runtimes do where they contradict runc,
//! whose behaviour is the default.

#![forbid(unsafe_code)]

use super::bad;
use crate::error::Result;
use crate::plan::values::quote;
use std::collections::BTreeMap;

const PREFIX: &str = "org.stockade.";

/// What a configuration's annotations choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// `pids.zero=max`: `pids.limit` 0 is no limit, as in crun and youki. In runc it is 1, the least that
    /// the kernel has.
    pub zero_pids_is_no_limit: bool,
    /// `poststop=strict`: a poststop hook that fails is the last one, and `delete` fails, as in youki; the
    /// container is gone all the same. In runc and the specification it is a warning.
    pub strict_poststop: bool,
}

/// Reads them; others' are let pass.
///
/// # Errors
/// One of ours that nobody knows, or a value that makes no sense: a container without what was asked for
/// would be another one.
pub fn own(annotations: &BTreeMap<String, String>) -> Result<Own> {
    let mut own = Own::default();
    for (key, value) in annotations.range(PREFIX.to_owned()..) {
        let Some(name) = key.strip_prefix(PREFIX) else { break };
        match (name, value.as_str()) {
            ("pids.zero", "max") => own.zero_pids_is_no_limit = true,
            ("poststop", "strict") => own.strict_poststop = true,
            _ => {
                return Err(bad(
                    format!("the annotation {} is not {}", quote(key), quote(value)),
                    "there are org.stockade.pids.zero=max and org.stockade.poststop=strict",
                ));
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_ours_are_known_or_an_error() {
        let of = |pairs: &[(&str, &str)]| {
            let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
            super::own(&pairs.iter().map(own).collect())
        };
        assert_eq!(of(&[("a", "b"), ("org.stockadex", "y"), ("z", "")]).unwrap(), Own::default());
        let both = [("org.stockade.pids.zero", "max"), ("org.stockade.poststop", "strict")];
        let own = of(&both).unwrap();
        assert!(own.zero_pids_is_no_limit && own.strict_poststop);
        for bad in [("org.stockade.", ""), ("org.stockade.poststop", "lax"), ("org.stockade.x", "")]
        {
            assert!(of(&[bad]).is_err(), "{bad:?}");
        }
    }
}
