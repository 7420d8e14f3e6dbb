//! Files that give settings their values at every boot. Pure: the contents.
//!
//! Each holds what is set by the tool now or was before, so that a second run writes the same. Interrupts are not among
//! them: their numbers may be others after a boot.

use super::plan::{Keeping, Wish};

/// How each of them begins, and what tells it from one that somebody else has put there.
const HEAD: &str = "# By `ringlog tune --apply --persist`, which overwrites it.\n";

/// A file with its contents; it is to be gone if they are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Absolute.
    pub(super) path: &'static str,
    pub(super) text: String,
}

impl Kept {
    /// Whether it is to be written, or to go, where `found` is there now. What somebody else has put there goes only where
    /// there is something to put in its place.
    pub(super) fn is_to_change(&self, found: Option<&str>) -> bool {
        match found {
            None => !self.text.is_empty(),
            Some(found) if self.text.is_empty() => found.starts_with(HEAD),
            Some(found) => found != self.text,
        }
    }
}

pub(super) fn files(wishes: &[Wish]) -> [Kept; 3] {
    let of_ours = || wishes.iter().filter(|wish| !wish.will_do || wish.current == wish.wanted);
    let file = |path, line: &dyn Fn(&Wish) -> Option<String>| {
        let lines: Vec<String> = of_ours().filter_map(line).collect();
        let text = if lines.is_empty() { String::new() } else { format!("{HEAD}{}\n", lines.join("\n")) };
        Kept { path, text }
    };
    [
        file("/etc/sysctl.d/90-ringlog.conf", &|wish| {
            (wish.keeping == Keeping::Sysctl).then(|| format!("{} = {}", wish.name, wish.wanted))
        }),
        file("/etc/tmpfiles.d/90-ringlog.conf", &|wish| {
            (wish.keeping == Keeping::File).then(|| format!("w {} - - - - {}", wish.path, wish.wanted))
        }),
        file("/etc/udev/rules.d/90-ringlog.rules", &|wish| match &wish.keeping {
            Keeping::Disk { name, attribute } => {
                let wanted = &wish.wanted;
                Some(format!(
                    "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"{name}\", ATTR{{{attribute}}}=\"{wanted}\""
                ))
            }
            _ => None,
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str, current: &str, will_do: bool, keeping: Keeping) -> Wish {
        Wish {
            name: name.to_owned(),
            path: format!("/{name}"),
            current: current.to_owned(),
            wanted: "10".to_owned(),
            will_do,
            why: "",
            keeping,
        }
    }

    #[test]
    fn what_was_set_is_kept_and_stays_kept() {
        let disk = || Keeping::Disk { name: "sda".to_owned(), attribute: "queue/scheduler" };
        let wishes = |set: bool| {
            let current = |other: &str| if set { "10".to_owned() } else { other.to_owned() };
            [
                wish("vm.swappiness", &current("60"), set, Keeping::Sysctl),
                wish("net.core.somaxconn", "4", true, Keeping::Sysctl),
                wish("sys/x", &current("1"), set, Keeping::File),
                wish("sys/block/sda/queue/scheduler", &current("bfq"), set, disk()),
                wish("proc/irq/1/smp_affinity_list", &current("0"), set, Keeping::Never),
            ]
        };
        let before = files(&wishes(false));
        let texts = before.each_ref().map(|file| file.text.lines().skip(1).collect::<Vec<_>>().join("|"));
        let rule = "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"sda\", ATTR{queue/scheduler}=\"10\"";
        assert_eq!(texts, ["vm.swappiness = 10", "w /sys/x - - - - 10", rule]);
        assert_eq!(files(&wishes(true)), before);
        assert!(files(&[]).iter().all(|file| file.text.is_empty()));
    }
    #[test]
    fn a_file_changes_where_it_holds_something_else_and_goes_only_if_it_is_ours() {
        let kept = |text: &str| Kept { path: "/x", text: text.to_owned() };
        let (ours, older, foreign) = (format!("{HEAD}a = 1\n"), format!("{HEAD}a = 2\n"), "a = 3\n");
        for (text, found, expected) in [
            (&*ours, None, true),
            (&ours, Some(&*ours), false),
            (&ours, Some(&older), true),
            (&ours, Some(foreign), true),
            ("", None, false),
            ("", Some(&older), true),
            ("", Some(foreign), false),
        ] {
            assert_eq!(kept(text).is_to_change(found), expected, "{text:?} {found:?}");
        }
    }
}
