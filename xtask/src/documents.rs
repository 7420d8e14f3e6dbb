//! Documents as they are packaged: links that lead out of the package are text there.

use std::fs;
use std::path::Path;

use super::root;

/// Documents for operators.
const NAMES: [&str; 11] = [
    "backup.md",
    "cli.md",
    "cluster.md",
    "configuration.md",
    "console.md",
    "deployment.md",
    "health.md",
    "metrics.md",
    "runbook.md",
    "sizing.md",
    "upgrade.md",
];

/// Writes all of them into a folder, and makes that.
pub fn write(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for name in NAMES {
        let from = root().join("docs").join(name);
        let text = fs::read_to_string(&from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
        let to = folder.join(name);
        fs::write(&to, alone(&text)).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    }
    Ok(())
}

/// `text` with those links alone that lead to the web, to a place in it, or to another of the documents. Of another link its
/// text stays, of a picture nothing.
fn alone(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(link) = next_link(rest) {
        let Link { begin, label, target, end } = link;
        written.push_str(&rest[..begin]);
        let is_picture = rest[begin..].starts_with('!');
        if leads_on(target) && !is_picture {
            written.push_str(&rest[begin..end]);
        } else if !is_picture {
            written.push_str(label);
        }
        rest = &rest[end..];
    }
    written.push_str(rest);
    written
}

fn leads_on(target: &str) -> bool {
    let file = target.split('#').next().unwrap_or_default();
    target.contains("://") || file.is_empty() || NAMES.contains(&file)
}

/// `[label](target)`, with a `!` before it if it is a picture.
struct Link<'a> {
    begin: usize,
    label: &'a str,
    target: &'a str,
    end: usize,
}

/// A label has no brackets, but for those of code.
fn next_link(text: &str) -> Option<Link<'_>> {
    let mut from = 0;
    loop {
        let middle = from + text[from..].find("](")?;
        from = middle + 2;
        let Some(open) = text[..middle].rfind('[') else { continue };
        let Some(close) = text[from..].find(')') else { continue };
        let (label, target) = (&text[open + 1..middle], &text[from..from + close]);
        if target.is_empty() || target.contains(char::is_whitespace) {
            continue;
        }
        let begin = if text[..open].ends_with('!') { open - 1 } else { open };
        return Some(Link { begin, label, target, end: from + close + 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_of_the_package_are_text() {
        for (text, packaged) in [
            ("no link (at all) [x]", "no link (at all) [x]"),
            (
                "see [sizing.md](sizing.md#memory), [here](#start) and [KIP](https://k.org/(a)",
                "see [sizing.md](sizing.md#memory), [here](#start) and [KIP](https://k.org/(a)",
            ),
            ("[`ringlog.service`](../deploy/systemd/ringlog.service) works", "`ringlog.service` works"),
            ("[a\nb](performance.md#x)[c](cli.md)", "a\nb[c](cli.md)"),
            ("before\n![The console](images/console.png)\nafter", "before\n\nafter"),
            ("`a[0](1 + 2)`", "`a[0](1 + 2)`"),
        ] {
            assert_eq!(alone(text), packaged, "{text}");
        }
    }

    #[test]
    fn all_documents_are_there() {
        for name in NAMES {
            let text = fs::read_to_string(root().join("docs").join(name)).unwrap();
            let packaged = alone(&text);
            assert!(packaged.len() > text.len() / 2, "{name}");
            assert_eq!(alone(&packaged), packaged, "{name}");
        }
    }
}
