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
    /// Of the two in the order of the fields, as the host makes them.
    #[must_use]
    pub fn new(text: Vec<u8>, starts: Vec<(usize, usize)>) -> Place {
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
