//! Shows the outcome: lines for people, or one JSON object.

use std::fmt::Write;

use serde::Serialize;

use super::verdict::{Line, Verdict};

/// Lines of `VERDICT  check  what was found`, each with what to do below it where there is something to do.
pub(super) fn text(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<4}  {:<width$}  {}", word(line.verdict), line.check, line.found);
        if !line.advice.is_empty() {
            let _ = writeln!(text, "{:<4}  {:<width$}  -> {}", "", "", line.advice);
        }
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    }
}

/// The gravest verdict of all.
pub(super) fn overall(lines: &[Line]) -> Verdict {
    lines.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Ok)
}

#[derive(Serialize)]
struct Report<'a> {
    verdict: &'static str,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    check: &'a str,
    verdict: &'static str,
    found: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'a str,
}

/// `{"verdict":"WARN","checks":[{"check":"kernel","verdict":"OK","found":"…"},…]}`, on one line as all of `--json`.
pub(super) fn json(lines: &[Line]) -> Result<String, serde_json::Error> {
    let checks = lines.iter().map(|line| Check {
        check: line.check,
        verdict: word(line.verdict),
        found: &line.found,
        advice: &line.advice,
    });
    serde_json::to_string(&Report { verdict: word(overall(lines)), checks: checks.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let line = |check, verdict, found: &str, advice: &str| Line {
            check,
            verdict,
            found: found.to_owned(),
            advice: advice.to_owned(),
        };
        vec![line("kernel", Verdict::Ok, "Linux 6.1", ""), line("io_uring", Verdict::Fail, "forbidden", "allow it")]
    }

    #[test]
    fn people_see_aligned_lines() {
        let expected = "OK    kernel    Linux 6.1\nFAIL  io_uring  forbidden\n                -> allow it\n";
        assert_eq!(text(&lines()), expected);
    }

    #[test]
    fn programs_see_an_object_with_the_gravest_verdict() {
        let text = json(&lines()).unwrap();
        assert!(!text.contains('\n'), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({"verdict": "FAIL", "checks": [
            {"check": "kernel", "verdict": "OK", "found": "Linux 6.1"},
            {"check": "io_uring", "verdict": "FAIL", "found": "forbidden", "advice": "allow it"},
        ]});
        assert_eq!(value, expected);
        assert_eq!(overall(&[]), Verdict::Ok);
        assert_eq!(overall(&lines()[..1]), Verdict::Ok);
    }
}
