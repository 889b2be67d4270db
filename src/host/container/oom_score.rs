//! Whether a process that joins a container gets another oom_score_adj than this one's.

#![forbid(unsafe_code)]

/// Whether the score is to be set: as at the container's making, who is not root may only raise it
/// and has to do without otherwise.
pub(super) fn changes_to(own: i32, now: Option<i32>, root: bool) -> bool {
    Some(own) != now && (root || now.is_some_and(|now| own > now))
}

/// What a process of ours has before it is changed. Lowering it needs a right, so that what it is
/// already is left alone.
pub(super) fn of_this() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::changes_to;

    #[test]
    fn an_ordinary_user_only_raises_the_oom_score() {
        assert!(changes_to(0, Some(200), true) && !changes_to(0, Some(200), false));
        assert!(changes_to(300, Some(200), true) && changes_to(300, Some(200), false));
        assert!(!changes_to(200, Some(200), true) && !changes_to(200, Some(200), false));
    }
}
