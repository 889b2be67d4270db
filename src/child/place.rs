//! A place in the root, with all that lies above it: made by the parent, so that the child composes
//! nothing.

#![forbid(unsafe_code)]

use core::ffi::CStr;

/// A path relative to the root, and its ancestors.
#[derive(Debug)]
pub struct Place {
    /// Each ancestor and then the place, NUL-terminated: `a\0a/b\0a/b/c\0`.
    text: Vec<u8>,
    /// Where each of them begins, and where its last name does.
    starts: Vec<(usize, usize)>,
}

impl Place {
    /// Of the names of a path, which hold neither NUL nor slash; of none it is the root.
    #[must_use]
    pub fn new(names: &[&[u8]]) -> Place {
        if names.is_empty() {
            return Place { text: b".\0".to_vec(), starts: vec![(0, 0)] };
        }
        let whole: usize = names.iter().map(|n| n.len() + 1).sum();
        let mut text: Vec<u8> = Vec::with_capacity(whole * names.len());
        let mut starts = Vec::with_capacity(names.len());
        let mut above = 0..0;
        for name in names {
            let start = text.len();
            if !above.is_empty() {
                text.extend_from_within(above);
                text.push(b'/');
            }
            starts.push((start, text.len()));
            text.extend_from_slice(name);
            above = start..text.len();
            text.push(0);
        }
        Place { text, starts }
    }

    fn at(&self, start: usize) -> &CStr {
        let rest = self.text.get(start..).unwrap_or_default();
        CStr::from_bytes_until_nul(rest).unwrap_or_default()
    }

    /// `a/b/c`; `.` for the root.
    #[must_use]
    pub fn full(&self) -> &CStr {
        self.at(self.starts.last().map_or(0, |(start, _)| *start))
    }

    /// `a`; `.` for the root.
    #[must_use]
    pub fn first(&self) -> &CStr {
        self.at(0)
    }

    /// From the top, `a` and `a/b`, each with the name that follows it: `b` and `c`.
    pub fn ancestors(&self) -> impl DoubleEndedIterator<Item = (&CStr, &CStr)> {
        let below = self.starts.iter().skip(1);
        self.starts
            .iter()
            .zip(below)
            .map(|((start, _), (_, name))| (self.at(*start), self.at(*name)))
    }

    /// The directory that it is in and its name there; `None` right below the root.
    #[must_use]
    pub fn parent(&self) -> Option<(&CStr, &CStr)> {
        let [.., (start, _), (_, name)] = self.starts.as_slice() else { return None };
        Some((self.at(*start), self.at(*name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_ancestors() {
        let p = Place::new(&[b"a", b"bb", b"c"]);
        assert_eq!((p.full(), p.first()), (c"a/bb/c", c"a"));
        assert_eq!(p.ancestors().collect::<Vec<_>>(), [(c"a", c"bb"), (c"a/bb", c"c")]);
        assert_eq!(p.parent(), Some((c"a/bb", c"c")));
        let p = Place::new(&[b"a"]);
        assert_eq!((p.full(), p.first(), p.parent()), (c"a", c"a", None));
        let root = Place::new(&[]);
        assert_eq!((root.full(), root.first(), root.ancestors().count()), (c".", c".", 0));
    }
}
