//! From the syntax of RE2/J 1.8 to that of the crate `regex`, for subjects of ASCII characters.
//!
//! Every character of the result is either one that this module wrote on purpose or a letter or digit: all others are
//! written as `\x{..}`, so that nothing can mean anything to the crate that it did not mean to RE2. Groups lose their names,
//! since nobody asks what they matched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use regex::Regex;

use super::NESTING_MAX;

/// RE2 refuses to repeat more often.
const REPEAT_MAX: u32 = 1_000;

/// The names within `[[:alpha:]]`; the crate knows them too.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The general categories of Unicode that RE2/J knows.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Any",
];

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct SyntaxError {
    pub kind: SyntaxErrorKind,
    /// In bytes of the expression, from 0: where what is wrong begins, or where something is missing.
    pub at: usize,
}

/// The words are RE2/J's where it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxErrorKind {
    #[error("invalid character class range")]
    ClassRange,
    #[error("invalid escape sequence")]
    Escape,
    #[error("invalid named capture")]
    GroupName,
    #[error("duplicate capture group name")]
    DuplicateGroupName,
    #[error("invalid or unsupported Perl syntax")]
    Perl,
    #[error("invalid nested repetition operator")]
    RepeatedRepetition,
    #[error("invalid repeat count")]
    RepeatCount,
    #[error("missing argument to repetition operator")]
    NothingToRepeat,
    #[error("missing closing ]")]
    OpenClass,
    #[error("missing closing )")]
    OpenGroup,
    #[error("unexpected )")]
    UnopenedGroup,
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    #[error("groups are nested more than {NESTING_MAX} deep")]
    Nesting,
    #[error("a repetition operator behind flags is not supported; put the flags first")]
    RepetitionBehindFlags,
}

/// What a repetition operator would repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Item,
    /// Something with a repetition operator.
    Repetition,
    /// Flags, with an item before them.
    Flags,
}

struct Translator<'a> {
    pattern: &'a str,
    /// What is not read yet.
    rest: &'a str,
    out: String,
    before: Before,
    /// Where groups that are still open begin.
    open: Vec<usize>,
    names: BTreeSet<&'a str>,
    /// What Unicode classes stand for, by name.
    unicode_classes: BTreeMap<String, String>,
}

pub(super) fn translate(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator {
        pattern,
        rest: pattern,
        out: String::new(),
        before: Before::Nothing,
        open: Vec::new(),
        names: BTreeSet::new(),
        unicode_classes: BTreeMap::new(),
    };
    while let Some(next) = translator.peek() {
        translator.item(next)?;
    }
    match translator.open.pop() {
        Some(_) => Err(translator.error_here(SyntaxErrorKind::OpenGroup)),
        None => Ok(translator.out),
    }
}

impl<'a> Translator<'a> {
    fn at(&self) -> usize {
        self.pattern.len() - self.rest.len()
    }

    fn error_here(&self, kind: SyntaxErrorKind) -> SyntaxError {
        SyntaxError { kind, at: self.at() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn skip(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// One item, operator, bracket or escape; `next` is its first character.
    fn item(&mut self, next: char) -> Result<(), SyntaxError> {
        match next {
            '(' => self.group(),
            ')' => self.end_of_group(),
            '|' => {
                self.next();
                self.out.push('|');
                self.before = Before::Nothing;
                Ok(())
            }
            '^' | '$' | '.' => {
                self.next();
                self.out.push(next);
                self.before = Before::Item;
                Ok(())
            }
            '[' => self.class(),
            '*' | '+' | '?' => {
                let at = self.at();
                self.next();
                self.repetition(at, next.to_string())
            }
            '{' => self.braces(),
            '\\' => self.escape(),
            _ => {
                self.next();
                self.literal(next);
                Ok(())
            }
        }
    }

    fn literal(&mut self, literal: char) {
        if literal.is_ascii() {
            put_char(&mut self.out, literal);
        } else {
            // Two such characters are the same as an ASCII letter if case does not count.
            self.out.push_str("(?u:");
            put_char(&mut self.out, literal);
            self.out.push(')');
        }
        self.before = Before::Item;
    }

    fn repetition(&mut self, at: usize, operator: String) -> Result<(), SyntaxError> {
        let kind = match self.before {
            Before::Item => {
                self.out.push_str(&operator);
                if self.skip("?") {
                    self.out.push('?');
                }
                self.before = Before::Repetition;
                return Ok(());
            }
            Before::Nothing => SyntaxErrorKind::NothingToRepeat,
            Before::Repetition => SyntaxErrorKind::RepeatedRepetition,
            Before::Flags => SyntaxErrorKind::RepetitionBehindFlags,
        };
        Err(SyntaxError { kind, at })
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else is a brace.
    fn braces(&mut self) -> Result<(), SyntaxError> {
        let at = self.at();
        let Some((bounds, rest)) = self.rest[1..].split_once('}') else { return self.brace() };
        let (least, most) = match bounds.split_once(',') {
            None => (bounds, Some(bounds)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        if !is_number(least) || !most.is_none_or(is_number) {
            return self.brace();
        }
        // No number that overflows is within bounds.
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
        let least_number = number(least);
        let fits = match most {
            None => least_number.is_some(),
            Some(most) => least_number.zip(number(most)).is_some_and(|(least, most)| least <= most),
        };
        if !fits {
            return Err(SyntaxError { kind: SyntaxErrorKind::RepeatCount, at });
        }
        self.rest = rest;
        self.repetition(at, format!("{{{bounds}}}"))
    }

    /// A brace that repeats nothing. RE2/J does not let it be repeated, as if it did.
    fn brace(&mut self) -> Result<(), SyntaxError> {
        self.next();
        self.literal('{');
        self.before = Before::Repetition;
        Ok(())
    }

    fn group(&mut self) -> Result<(), SyntaxError> {
        let at = self.at();
        self.next();
        if self.skip("?P<") || self.skip("?<") {
            let named = self.rest.split_once('>');
            let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let Some((name, rest)) = named.filter(|(name, _)| is_name(name)) else {
                return Err(SyntaxError { kind: SyntaxErrorKind::GroupName, at });
            };
            if !self.names.insert(name) {
                return Err(SyntaxError { kind: SyntaxErrorKind::DuplicateGroupName, at });
            }
            self.rest = rest;
        } else if self.skip("?") {
            return self.flags(at);
        }
        self.out.push_str("(?:");
        self.open_group(at)
    }

    /// Behind `(?`: flags for the rest of the group, or flags for a group of their own.
    fn flags(&mut self, at: usize) -> Result<(), SyntaxError> {
        let error = SyntaxError { kind: SyntaxErrorKind::Perl, at };
        // By flag, whether it is set.
        let mut flags: BTreeMap<char, bool> = BTreeMap::new();
        let mut set = true;
        let mut any_behind_sign = true;
        loop {
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => {
                    flags.insert(flag, set);
                    any_behind_sign = true;
                }
                Some('-') if set => {
                    set = false;
                    any_behind_sign = false;
                }
                Some(end @ (':' | ')')) if any_behind_sign => {
                    let with = |wanted| flags.iter().filter(move |(_, set)| **set == wanted).map(|(flag, _)| *flag);
                    let (on, off): (String, String) = (with(true).collect(), with(false).collect());
                    let sign = if off.is_empty() { "" } else { "-" };
                    if end == ':' {
                        let _ = write!(self.out, "(?{on}{sign}{off}:");
                        self.open_group(at)?;
                    } else {
                        if !flags.is_empty() {
                            let _ = write!(self.out, "(?{on}{sign}{off})");
                        }
                        if self.before != Before::Nothing {
                            self.before = Before::Flags;
                        }
                    }
                    return Ok(());
                }
                _ => return Err(error),
            }
        }
    }

    fn open_group(&mut self, at: usize) -> Result<(), SyntaxError> {
        if self.open.len() == NESTING_MAX {
            return Err(SyntaxError { kind: SyntaxErrorKind::Nesting, at });
        }
        self.open.push(at);
        self.before = Before::Nothing;
        Ok(())
    }

    fn end_of_group(&mut self) -> Result<(), SyntaxError> {
        if self.open.pop().is_none() {
            return Err(self.error_here(SyntaxErrorKind::UnopenedGroup));
        }
        self.next();
        self.out.push(')');
        self.before = Before::Item;
        Ok(())
    }

    /// Outside of a class.
    fn escape(&mut self) -> Result<(), SyntaxError> {
        if self.skip(r"\Q") {
            let (literal, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            match (literal.is_empty(), self.before) {
                // What stands before may be repeated, though it may be repeated already.
                (true, Before::Repetition) => self.before = Before::Item,
                (true, _) => {}
                (false, _) => literal.chars().for_each(|c| self.literal(c)),
            }
            return Ok(());
        }
        if let Some(class) = self.class_escape()? {
            let _ = write!(self.out, "[{class}]");
            self.before = Before::Item;
            return Ok(());
        }
        for assertion in [r"\A", r"\z", r"\b", r"\B"] {
            if self.skip(assertion) {
                self.out.push_str(assertion);
                self.before = Before::Item;
                return Ok(());
            }
        }
        let literal = self.char_escape()?;
        self.literal(literal);
        Ok(())
    }

    /// `\d`, `\pN` and the like, within a class or not: what to write into a class for it.
    fn class_escape(&mut self) -> Result<Option<String>, SyntaxError> {
        for class in [r"\d", r"\D", r"\s", r"\S", r"\w", r"\W"] {
            if self.skip(class) {
                return Ok(Some(class.to_owned()));
            }
        }
        let error = self.error_here(SyntaxErrorKind::ClassRange);
        let mut negated = match (self.skip(r"\p"), self.rest.starts_with(r"\P")) {
            (true, _) => false,
            (false, true) => self.skip(r"\P"),
            (false, false) => return Ok(None),
        };
        let name = if self.skip("{") {
            let (name, rest) = self.rest.split_once('}').ok_or_else(|| error.clone())?;
            self.rest = rest;
            name
        } else {
            let from = self.rest;
            let length = self.next().ok_or_else(|| error.clone())?.len_utf8();
            &from[..length]
        };
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negated = !negated;
                name
            }
            None => name,
        };
        let ascii = self.unicode_class(name).ok_or(error)?;
        Ok(Some(if negated { format!("[^{ascii}]") } else { format!("[{ascii}]") }))
    }

    /// The ASCII characters of a general category or a script, by the names that RE2/J has for them.
    fn unicode_class(&mut self, name: &str) -> Option<String> {
        if let Some(known) = self.unicode_classes.get(name) {
            return Some(known.clone());
        }
        let ascii = match name {
            // Surrogates are no characters here.
            "Cs" => NONE.to_owned(),
            _ if CATEGORIES.contains(&name) || is_script(name) => {
                let script = if is_script(name) { "Script=" } else { "" };
                let regex = Regex::new(&format!(r"\A\p{{{script}{name}}}\z")).ok()?;
                let mut ascii = String::new();
                for c in ('\0'..='\x7f').filter(|c| regex.is_match(c.encode_utf8(&mut [0; 4]))) {
                    put_char(&mut ascii, c);
                }
                if ascii.is_empty() { NONE.to_owned() } else { ascii }
            }
            _ => return None,
        };
        self.unicode_classes.insert(name.to_owned(), ascii.clone());
        Some(ascii)
    }

    fn class(&mut self) -> Result<(), SyntaxError> {
        self.next();
        let negated = self.skip("^");
        let mut class = String::new();
        let mut only_ascii = true;
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            if let Some(posix) = self.posix_class()? {
                class.push_str(&posix);
                continue;
            }
            if let Some(escaped) = self.class_escape()? {
                class.push_str(&escaped);
                continue;
            }
            let at = self.at();
            let low = self.class_char()?;
            let mut high = low;
            // A hyphen before the closing bracket is one.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                high = self.class_char()?;
                if high < low {
                    return Err(SyntaxError { kind: SyntaxErrorKind::ClassRange, at });
                }
            }
            only_ascii &= high.is_ascii();
            put_char(&mut class, low);
            class.push('-');
            put_char(&mut class, high);
        }
        self.next();
        let sign = if negated { "^" } else { "" };
        let _ = match only_ascii {
            true => write!(self.out, "[{sign}{class}]"),
            false => write!(self.out, "(?u:[{sign}{class}])"),
        };
        self.before = Before::Item;
        Ok(())
    }

    /// `[:alpha:]` within a class.
    fn posix_class(&mut self) -> Result<Option<String>, SyntaxError> {
        if !self.rest.starts_with("[:") {
            return Ok(None);
        }
        // In `[:]`, one colon is both.
        let Some(end) = self.rest[1..].find(":]") else { return Ok(None) };
        let (class, rest) = self.rest.split_at(1 + end + ":]".len());
        let name = class.strip_prefix("[:").and_then(|class| class.strip_suffix(":]")).unwrap_or_default();
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(self.error_here(SyntaxErrorKind::ClassRange));
        }
        self.rest = rest;
        Ok(Some(class.to_owned()))
    }

    fn class_char(&mut self) -> Result<char, SyntaxError> {
        match self.peek() {
            None => Err(self.error_here(SyntaxErrorKind::OpenClass)),
            Some('\\') => self.char_escape(),
            Some(literal) => {
                self.next();
                Ok(literal)
            }
        }
    }

    /// An escape that stands for one character.
    fn char_escape(&mut self) -> Result<char, SyntaxError> {
        let error = self.error_here(SyntaxErrorKind::Escape);
        let trailing = self.error_here(SyntaxErrorKind::TrailingBackslash);
        self.next();
        let escaped = self.next().ok_or(trailing)?;
        let is_octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
        let code = match escaped {
            // A single digit would refer to a group.
            '1'..='7' if !is_octal(self.peek()) => return Err(error),
            '0'..='7' => {
                let mut code = u32::from(escaped) - u32::from('0');
                for _ in 0..2 {
                    if is_octal(self.peek()) {
                        code = code * 8 + self.next().and_then(|c| c.to_digit(8)).unwrap_or(0);
                    }
                }
                code
            }
            'x' => self.hexadecimal().ok_or_else(|| error.clone())?,
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            _ if !escaped.is_ascii_alphanumeric() => u32::from(escaped),
            _ => return Err(error),
        };
        char::from_u32(code).ok_or(error)
    }

    /// Behind `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.skip("{") {
            let (digits, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2)?;
            self.rest = rest;
            digits
        };
        // It would take a sign.
        if digits.starts_with('+') {
            return None;
        }
        u32::from_str_radix(digits, 16).ok()
    }
}

/// What to write into a class that has no character.
const NONE: &str = "a&&b";

/// As both a literal and a member of a class.
fn put_char(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        let _ = write!(out, r"\x{{{:x}}}", u32::from(c));
    }
}

/// Digits, without a 0 before others.
fn is_number(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}

/// `Latin`, `Phags_Pa`: words with one capital. Whether there is such a script, the crate knows.
fn is_script(name: &str) -> bool {
    let is_word = |word: &str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.all(|c| c.is_ascii_lowercase())
    };
    name != "Any" && name.len() > 2 && name.split('_').all(is_word)
}
