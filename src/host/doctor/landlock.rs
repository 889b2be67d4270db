//! Landlock: which ABI.

#![forbid(unsafe_code)]

use super::report::{Findings, Need, Row};
use crate::error::describe_errno;
use crate::sys::landlock;

/// What each ABI brought, after landlock(7); from the newest on.
const BROUGHT: [(u32, &str); 7] = [
    (7, "audit of denials"),
    (6, "scopes of abstract sockets and signals"),
    (5, "device ioctls"),
    (4, "TCP bind and connect"),
    (3, "truncate"),
    (2, "rename and link between directories"),
    (1, "files and directories"),
];

pub(super) fn look(found: &mut Findings) {
    let row = match landlock::abi() {
        Ok(abi) => {
            let newest = BROUGHT.iter().find(|(n, _)| *n <= abi).map_or("", |(_, what)| what);
            let ahead = if abi > BROUGHT[0].0 { " and newer" } else { "" };
            Row::yes(Need::Info, format!("ABI {abi}: up to {newest}{ahead}")).value(i64::from(abi))
        }
        Err(e) => {
            let why = match e.0 {
                libc::ENOSYS => {
                    "the kernel was built without it (CONFIG_SECURITY_LANDLOCK), or is \
                                 older than 5.13"
                        .to_owned()
                }
                libc::EOPNOTSUPP => "built in and switched off: add landlock to the list of the \
                                     boot parameter lsm="
                    .to_owned(),
                n => describe_errno(n),
            };
            Row::no(Need::Info, why).value(0)
        }
    };
    found.add("landlock", "abi", row);
}
