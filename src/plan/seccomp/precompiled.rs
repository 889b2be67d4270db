//! The embedded profile for a job without capabilities, compiled ahead of time.
//!
//! Almost every jail uses it, and reading and compiling the profile takes a twentieth of such a
//! jail's start. The program is committed next to the profile; a test compiles the profile and
//! compares, so the two cannot drift apart.

#![forbid(unsafe_code)]

use super::{Arch, Instruction};

const X86_64: &[u8] = include_bytes!("../../../profiles/seccomp-default.x86_64.bpf");

/// The program, where there is one for this machine.
#[must_use]
pub fn precompiled() -> Option<Vec<Instruction>> {
    match Arch::native() {
        Arch::X86_64 => Some(X86_64.chunks_exact(8).filter_map(instruction).collect()),
        Arch::Aarch64 => None,
    }
}

/// `struct sock_filter`, little endian.
fn instruction(bytes: &[u8]) -> Option<Instruction> {
    let [a, b, jt, jf, k0, k1, k2, k3] = *<&[u8; 8]>::try_from(bytes).ok()?;
    Some(Instruction {
        code: u16::from_le_bytes([a, b]),
        jt,
        jf,
        k: u32::from_le_bytes([k0, k1, k2, k3]),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Extra, Profile, Target, compile};
    use super::*;

    fn compiled(kernel: (u32, u32)) -> Vec<u8> {
        let target = Target { arch: Arch::X86_64, caps: 0, kernel };
        let spec = Profile::embedded().resolve(&target).unwrap();
        let filter = compile(&spec, Arch::X86_64, &Extra::default()).unwrap();
        assert_eq!(filter.flags, 0);
        filter
            .instructions
            .iter()
            .flat_map(|i| {
                let mut bytes = i.code.to_le_bytes().to_vec();
                bytes.extend([i.jt, i.jf]);
                bytes.extend(i.k.to_le_bytes());
                bytes
            })
            .collect()
    }

    #[test]
    fn the_committed_program_is_what_the_profile_compiles_to() {
        let fresh = compiled((6, 1));
        if std::env::var_os("STOCKADE_UPDATE_FILTER").is_some() {
            std::fs::write("profiles/seccomp-default.x86_64.bpf", &fresh).unwrap();
            return;
        }
        assert!(
            fresh == X86_64,
            "profiles/seccomp-default.json has changed: run this test with STOCKADE_UPDATE_FILTER=1"
        );
    }

    #[test]
    fn the_embedded_profile_does_not_depend_on_the_kernel() {
        assert_eq!(compiled((5, 12)), compiled((99, 0)));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_committed_program_is_read_back_whole() {
        assert_eq!(precompiled().unwrap().len() * 8, X86_64.len());
        assert!(X86_64.len() > 800);
    }
}
