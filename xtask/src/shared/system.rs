//! What a record says of the machine that made it.
//!
//! Assumes Linux's `/proc`; what it does not say is "unknown": a record is not a condition.

/// The processor's name.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(unknown, |(_, name)| name.trim().to_owned())
}

/// The kernel's version, without what its builder appended: that names a machine, not a kernel.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| unknown(), |text| version(&text))
}

fn version(release: &str) -> String {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    match release.get(..end) {
        Some(version) if !version.is_empty() => version.to_owned(),
        _ => unknown(),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_digits_and_points() {
        assert_eq!(version("6.1.0-18-amd64\n"), "6.1.0");
        assert_eq!(version("6.18.44\n"), "6.18.44");
        assert_eq!(version("next-20261120"), "unknown");
    }
}
