//! The forms of values: text in, a checked value or one sentence about the form out.
//!
//! Each form is a type of its own, so that the families can be deserialized; its error names neither variable nor
//! value, whoever reads the value adds both.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use super::{Install, Rewrite, signals::signal_number};

/// Defines a form: a wrapper around a value, read from text by a function.
macro_rules! form {
    ($(#[doc = $doc:literal] $name:ident($value:ty) = $read:path;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $value);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $read(text.trim()).map(Self)
            }
        }
    )*};
}

form! {
    /// `90s`, `5m`, `1h30m`.
    Span(Duration) = span;
    /// A duration that is not zero.
    LongerSpan(Duration) = longer_span;
    /// A duration, or `none` or `off`.
    MaybeSpan(Option<Duration>) = maybe_span;
    /// MiB as a number, or a size such as `64MiB`.
    Mebibytes(u64) = mebibytes;
    /// A whole number.
    Count(u32) = count;
    /// `true` or `false`.
    Switch(bool) = switch;
    /// Requests at once.
    Concurrency((usize, usize)) = concurrency;
    /// A command line.
    Command(Vec<String>) = command;
    /// `auto`, `none` or a command line.
    InstallForm(Install) = install;
    /// Patterns, separated by newlines or `:`.
    Patterns(Vec<String>) = patterns;
    /// Signals, separated by commas.
    Signals(BTreeSet<i32>) = signals;
    /// `FROM:TO`, separated by commas.
    Rewrites(Vec<Rewrite>) = rewrites;
    /// Exit codes, separated by commas.
    ExitCodes(BTreeSet<u8>) = exit_codes;
}

/// Defines a form that takes one of a few words.
macro_rules! choice {
    ($($name:ident: $value:ty { $($word:literal => $variant:expr),* })*) => {$(
        #[doc = concat!("One of", $(" `", $word, "`",)* ".")]
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $value);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.trim() {
                    $($word => Ok(Self($variant)),)*
                    _ => Err(one_of(&[$($word),*])),
                }
            }
        }
    )*};
}

choice! {
    ModeForm: super::Mode { "read-write" => super::Mode::ReadWrite, "read-only" => super::Mode::ReadOnly }
    ExpectForm: super::Expect {
        "any" => super::Expect::Any, "existing" => super::Expect::Existing, "new" => super::Expect::New
    }
    OnRestoreFailureForm: super::OnRestoreFailure {
        "fail" => super::OnRestoreFailure::Fail, "run" => super::OnRestoreFailure::Run
    }
    OwnerForm: super::OwnerPolicy {
        "run-user" => super::OwnerPolicy::RunUser, "keep" => super::OwnerPolicy::Keep, "none" => super::OwnerPolicy::None
    }
    OnDeadlineForm: super::OnDeadline { "partial" => super::OnDeadline::Partial, "old" => super::OnDeadline::Old }
    LiveTreeForm: super::LiveTree { "on" => super::LiveTree::On, "off" => super::LiveTree::Off }
    GitForm: super::GitPolicy { "exclude" => super::GitPolicy::Exclude, "include" => super::GitPolicy::Include }
    SignalScopeForm: super::SignalScope { "child" => super::SignalScope::Child, "group" => super::SignalScope::Group }
    LogLevelForm: super::LogLevel {
        "error" => super::LogLevel::Error, "warn" => super::LogLevel::Warn, "info" => super::LogLevel::Info,
        "debug" => super::LogLevel::Debug, "trace" => super::LogLevel::Trace
    }
    LogFormatForm: super::LogFormat { "text" => super::LogFormat::Text, "json" => super::LogFormat::Json }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [all @ .., last] => format!("it is {} or {last}", all.join(", ")),
        [] => String::new(),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "it is a duration such as 90s, 5m or 1h30m".to_owned())
}

fn longer_span(text: &str) -> Result<Duration, String> {
    span(text)
        .ok()
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "it is a duration above zero such as 90s, 5m or 1h30m".to_owned())
}

fn maybe_span(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "off" | "none" => Ok(None),
        _ => longer_span(text)
            .map(Some)
            .map_err(|_| "it is a duration such as 90s, 5m or 1h30m, or the word off (for none)".to_owned()),
    }
}

/// Reads a duration such as `90s`, `5m` or `1h30m`, as the variables take it.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    parse_span(text.trim())
}

/// Numbers with a unit, the largest unit first, each once: what everybody else's configuration takes.
fn parse_span(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text;
    let mut millis = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let end = tail.find(|character: char| character.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let at = UNITS.iter().skip(next_unit).position(|(name, _)| *name == unit)? + next_unit;
        let scale = UNITS[at].1;
        let whole: u64 = whole.parse().ok()?;
        if fraction.is_empty() || fraction.len() > 9 {
            return None;
        }
        let below =
            fraction.parse::<u64>().ok()?.checked_mul(scale)? / 10_u64.checked_pow(fraction.len().try_into().ok()?)?;
        millis = millis.checked_add(whole.checked_mul(scale)?)?.checked_add(below)?;
        next_unit = at + 1;
        rest = tail;
    }
    // A hundred years: what comes later cannot be added to a clock without care.
    (!text.is_empty() && millis <= 36_525 * 86_400_000).then(|| Duration::from_millis(millis))
}

fn mebibytes(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .or_else(|| parse_size(text).map(|bytes| bytes >> 20))
        .ok_or_else(|| "it is a number of MB, or a size such as 64MiB".to_owned())
}

/// `64MiB`, `1.5GB`, `100k`: binary units with an `i`, decimal ones without.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let scale: u64 = match unit.as_str() {
        "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it is a whole number such as 14".to_owned())
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

fn concurrency(text: &str) -> Result<(usize, usize), String> {
    let one = |text: &str| text.parse().ok().filter(|number| (1..=1024).contains(number));
    match text.split_once('/') {
        Some((down, up)) => one(down).zip(one(up)),
        None => one(text).map(|both| (both, both)),
    }
    .ok_or_else(|| "it is a number of requests from 1 to 1024, or DOWN/UP such as 16/8".to_owned())
}

/// Words as a shell splits them; what only a shell can do (`&&`, `|`, `$HOME`) goes to one, whole.
fn command(text: &str) -> Result<Vec<String>, String> {
    if quoted_away(text).contains(['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '\n']) {
        return Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]);
    }
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(words),
        _ => Err("it is a command line; a quote is not closed".to_owned()),
    }
}

/// The text without what single quotes or a backslash hide from a shell.
fn quoted_away(text: &str) -> String {
    let mut open = String::new();
    let mut characters = text.chars();
    let mut double = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '"' => double = !double,
            '\'' if !double => drop(characters.by_ref().find(|character| *character == '\'')),
            // Within double quotes only these two mean something to a shell.
            _ if !double || matches!(character, '$' | '`') => open.push(character),
            _ => {}
        }
    }
    open
}

fn install(text: &str) -> Result<Install, String> {
    match text {
        "auto" => Ok(Install::Auto),
        "none" => Ok(Install::None),
        _ => command(text)
            .map(Install::Command)
            .map_err(|_| "it is auto, none or a command line; a quote is not closed".to_owned()),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the signature of every form")]
fn patterns(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(['\n', ':']).map(str::trim_start).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

const SIGNAL_FORM: &str = "it is a list of signals such as TERM,INT: names or numbers from 1 to 64, but not KILL or STOP, \
     which no process can receive";

fn received(text: &str) -> Option<i32> {
    signal_number(text.trim()).filter(|number| *number != libc::SIGKILL && *number != libc::SIGSTOP)
}

fn signals(text: &str) -> Result<BTreeSet<i32>, String> {
    text.split(',').map(received).collect::<Option<_>>().ok_or_else(|| SIGNAL_FORM.to_owned())
}

fn rewrites(text: &str) -> Result<Vec<Rewrite>, String> {
    let mut rewrites = Vec::<Rewrite>::new();
    for pair in text.split(',') {
        let rewrite = pair.split_once(':').and_then(|(from, to)| {
            let to = to.trim();
            Some(Rewrite { from: received(from)?, to: if to == "0" { 0 } else { signal_number(to)? } })
        });
        let Some(rewrite) = rewrite else {
            return Err("it is a list of FROM:TO such as TERM:QUIT,WINCH:0: signals by name or number, 0 drops one, \
                        KILL and STOP cannot be received"
                .to_owned());
        };
        if rewrites.iter().any(|known| known.from == rewrite.from) {
            return Err(format!("it rewrites {} twice", super::signal_name(rewrite.from)));
        }
        rewrites.push(rewrite);
    }
    Ok(rewrites)
}

fn exit_codes(text: &str) -> Result<BTreeSet<u8>, String> {
    text.split(',')
        .map(|code| code.trim().parse().ok())
        .collect::<Option<_>>()
        .ok_or_else(|| "it is a list of exit codes from 0 to 255 such as 143,130".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("250ms", 250),
            ("0.5s", 500),
            ("1m500ms", 60_500),
            ("0s", 0),
            ("2d", 172_800_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 m",
            "-5s",
            "5x",
            "30m1h",
            "5s5s",
            "1.s",
            "..5s",
            "99999999999999999999s",
            "40000d",
            "1e3s",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(maybe_span("off"), Ok(None));
        assert!(maybe_span("0s").is_err());
    }

    #[test]
    fn sizes_know_decimal_and_binary_units() {
        for (text, mib) in [("1000", 1000), ("64MiB", 64), ("2GiB", 2048), ("64M", 61), ("1g", 953), ("0", 0)] {
            assert_eq!(mebibytes(text), Ok(mib), "{text}");
        }
        for text in ["", "MiB", "64Mib2", "-1", "64XB", "99999999999TiB"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_line_goes_to_a_shell_only_where_it_must() {
        let words = |text| command(text).unwrap();
        assert_eq!(words("npm run 'two words'"), ["npm", "run", "two words"]);
        assert_eq!(words("npm ci && npm run build"), ["/bin/sh", "-c", "npm ci && npm run build"]);
        assert_eq!(words("echo 'a|b' \"c;d\" \\&"), ["echo", "a|b", "c;d", "&"]);
        assert_eq!(words("echo \"$HOME\"")[0], "/bin/sh");
        assert_eq!(words("ls 'it''s' *")[0], "/bin/sh");
        assert!(command("echo 'open").is_err());
    }

    #[test]
    fn signals_and_their_rewrites_are_lists() {
        assert_eq!(signals("TERM, sigint,3"), Ok(BTreeSet::from([15, 2, 3])));
        assert!(signals("TERM,KILL").is_err());
        assert!(signals("TERM,").is_err());
        assert_eq!(rewrites("TERM:QUIT,WINCH:0"), Ok(vec![Rewrite { from: 15, to: 3 }, Rewrite { from: 28, to: 0 }]));
        assert_eq!(rewrites("RTMIN+3:KILL"), Ok(vec![Rewrite { from: 37, to: 9 }]));
        for text in ["TERM", "TERM:", "0:TERM", "KILL:TERM", "TERM:65", "TERM:QUIT,15:INT"] {
            assert!(rewrites(text).is_err(), "{text}");
        }
        assert_eq!(exit_codes("143, 130"), Ok(BTreeSet::from([143, 130])));
        assert!(exit_codes("256").is_err());
    }

    #[test]
    fn concurrency_is_one_number_or_two() {
        assert_eq!(concurrency("8"), Ok((8, 8)));
        assert_eq!(concurrency("16/4"), Ok((16, 4)));
        for text in ["0", "8/", "/8", "8/0", "2000", "eight"] {
            assert!(concurrency(text).is_err(), "{text}");
        }
    }
}
