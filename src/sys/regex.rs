//! POSIX extended regular expressions: regcomp(3) of the C library, which allocates: not for
//! between clone and exec.

use core::ffi::CStr;
use core::mem::MaybeUninit;

/// A compiled expression.
pub struct Pattern(libc::regex_t);

impl core::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Pattern")
    }
}

impl Pattern {
    /// Compiles it; `None`: it is no expression.
    #[must_use]
    pub fn new(text: &CStr) -> Option<Pattern> {
        let mut compiled = MaybeUninit::<libc::regex_t>::uninit();
        // SAFETY: the expression is a live C string; what is compiled is written to on success.
        let ret = unsafe {
            libc::regcomp(
                compiled.as_mut_ptr(),
                text.as_ptr(),
                libc::REG_EXTENDED | libc::REG_NOSUB,
            )
        };
        // SAFETY: regcomp has succeeded.
        (ret == 0).then(|| Pattern(unsafe { compiled.assume_init() }))
    }

    /// Whether any part of the text matches.
    #[must_use]
    pub fn matches(&self, text: &CStr) -> bool {
        // SAFETY: a compiled expression and a live C string; no matches are asked for.
        unsafe { libc::regexec(&raw const self.0, text.as_ptr(), 0, core::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: compiled, and freed once.
        unsafe { libc::regfree(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_expressions_match_any_part() {
        let p = Pattern::new(c"^web-[0-9]+$").unwrap();
        assert!(p.matches(c"web-12") && !p.matches(c"web-") && !p.matches(c"my-web-1"));
        assert!(Pattern::new(c"b|c").unwrap().matches(c"abd"));
        assert!(Pattern::new(c"(").is_none());
    }
}
