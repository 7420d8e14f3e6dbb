//! How the kernel writes choices, lists of CPUs and tables. Pure.

use super::Choice;

/// `none [mq-deadline] kyber`; without brackets, as for a clock source, nothing is chosen.
pub(super) fn choice(text: &str) -> Option<Choice> {
    let names: Vec<&str> = text.split_whitespace().collect();
    let chosen = names.iter().find_map(|name| name.strip_prefix('[')?.strip_suffix(']'))?;
    let bare = |name: &&str| name.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Choice { current: chosen.to_owned(), available: names.iter().map(bare).collect() })
}

/// `0-2,5` as its numbers; `None` if it is no such list, or names a CPU that no machine has.
pub(super) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    const CPU_MAX: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// `4096 131072 6291456`, with tabs between them.
pub(super) fn three(text: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// `write back` and `write through`, which some write with underscores or more words.
pub(super) fn is_write_back(text: &str) -> Option<bool> {
    let text = text.trim().replace('_', " ");
    if text.starts_with("write back") {
        Some(true)
    } else if text.starts_with("write through") {
        Some(false)
    } else {
        None
    }
}

/// The first column of `/proc/swaps`, below its heading.
pub(super) fn swap_areas(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let found = choice("none [mq-deadline] kyber\n").unwrap();
        assert_eq!((found.current.as_str(), found.available.len()), ("mq-deadline", 3));
        assert!(found.has("mq-deadline") && found.has("none") && !found.has("bfq"));
        assert_eq!(choice("none"), None);
        assert_eq!(choice(""), None);
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("7"), Some(vec![7]));
        assert_eq!(cpu_list(""), Some(vec![]));
        for wrong in ["a", "1-", "0-18446744073709551615", "-1"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tables() {
        assert_eq!(three("4096\t131072\t6291456\n"), Some([4096, 131_072, 6_291_456]));
        assert_eq!(three("1 2"), None);
        assert_eq!(is_write_back("write back, no read (daft)\n"), Some(true));
        assert_eq!(is_write_back("write_through"), Some(false));
        assert_eq!(is_write_back("none"), None);
        let swaps = "Filename\tType\tSize\n/dev/sda2 partition 8 0 -2\n/swap file 8 0 -3\n";
        assert_eq!(swap_areas(swaps), ["/dev/sda2", "/swap"]);
        assert_eq!(swap_areas(""), [""; 0]);
    }
}
