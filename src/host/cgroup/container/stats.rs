//! What a container has used, in the shape of runc's `events --stats`, whose names those are.

use super::{ContainerCgroup, Manager, is_v2, rootless, stats_v1, stats_v2};
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// A number that runc leaves out when it is 0.
type Sparse = Option<u64>;

/// `None` for 0.
pub(super) fn sparse(value: u64) -> Sparse {
    (value != 0).then_some(value)
}

/// All figures. What the host does not count stays 0 or out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub(crate) cpu: Cpu,
    pub(crate) cpuset: Cpuset,
    pub(crate) memory: Memory,
    pub(crate) pids: Pids,
    pub(crate) blkio: Blkio,
    pub(crate) hugetlb: BTreeMap<String, Hugetlb>,
    /// Not a field of runc's output, but of its library's.
    #[serde(skip_serializing_if = "Rdma::is_empty")]
    pub(crate) rdma: Rdma,
    /// No resctrl figures are read.
    pub(crate) intel_rdt: Empty,
    /// runc fills it for networks that it makes itself, which nobody asks it for.
    pub(crate) network_interfaces: Option<Empty>,
}

/// `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub(crate) usage: CpuUsage,
    pub(crate) throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Psi>,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Sparse,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu_user: Vec<u64>,
    pub(crate) kernel: u64,
    pub(crate) user: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) periods: Sparse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throttled_periods: Sparse,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throttled_time: Sparse,
}

/// Only v1 has these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cpus: Vec<u16>,
    pub(crate) cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mems: Vec<u16>,
    pub(crate) mem_hardwall: u64,
    pub(crate) mem_exclusive: u64,
    pub(crate) memory_migrate: u64,
    pub(crate) memory_spread_page: u64,
    pub(crate) memory_spread_slab: u64,
    pub(crate) memory_pressure: u64,
    pub(crate) sched_load_balance: u64,
    pub(crate) sched_relax_domain_level: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Sparse,
    pub(crate) usage: MemoryEntry,
    /// Memory and swap together.
    pub(crate) swap: MemoryEntry,
    pub(crate) kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub(crate) kernel_tcp: MemoryEntry,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Psi>,
}

/// Bytes. Without a limit it is the largest number that the kernel writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    pub(crate) limit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Sparse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Sparse,
    pub(crate) failcnt: u64,
}

/// Processes and threads; no limit is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Sparse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Sparse,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) major: Sparse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) minor: Sparse,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) op: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Sparse,
}

/// Bytes, by size of the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Sparse,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Sparse,
    pub(crate) failcnt: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rdma {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rdma_limit: Vec<RdmaEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rdma_current: Vec<RdmaEntry>,
}

impl Rdma {
    fn is_empty(&self) -> bool {
        self.rdma_limit.is_empty() && self.rdma_current.is_empty()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RdmaEntry {
    pub(crate) device: String,
    pub(crate) hca_handles: u32,
    pub(crate) hca_objects: u32,
}

/// Pressure stall information (v2, Linux 4.20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    pub(crate) some: PsiData,
    pub(crate) full: PsiData,
}

/// Averages in per cent, the total in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PsiData {
    pub(crate) avg10: f64,
    pub(crate) avg60: f64,
    pub(crate) avg300: f64,
    pub(crate) total: u64,
}

impl ContainerCgroup {
    /// Reads them all. A controller that is not there leaves its figures 0.
    ///
    /// # Errors
    /// A file that is there cannot be read; an ordinary user's container has no cgroup at all.
    pub(crate) fn stats(&self) -> Result<Stats> {
        if self.parts.is_empty() && self.manager != Manager::Disabled {
            return Err(rootless::no_cgroup(self, "", "statistics"));
        }
        let mut stats = Stats::default();
        if is_v2(&self.parts) {
            if let Some(dir) = self.unified() {
                stats_v2::read(dir, &mut stats)?;
            }
        } else {
            stats_v1::read(self, &mut stats)?;
        }
        Ok(stats)
    }
}
