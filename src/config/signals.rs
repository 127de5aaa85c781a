//! Signals by name or number.
//!
//! `RTMIN` is 34, what glibc's programs, `kill -l` and the container engines mean by it, whatever libc this binary was
//! built with (musl keeps one more for itself).

const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `TERM`, `SIGTERM`, `15`, `RTMIN+3`, `RTMAX-1`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name {
        "" => return None,
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        _ => NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at).ok()),
    };
    number.or_else(|| {
        let offset = |rest: &str, sign: char| match rest {
            "" => Some(0),
            _ => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            RTMIN + offset(rest, '+')?
        } else {
            RTMAX - offset(name.strip_prefix("RTMAX")?, '-')?
        };
        (RTMIN..=RTMAX).contains(&number).then_some(number)
    })
}

/// The name of a signal, as [`signal_number`] reads it.
#[must_use]
pub fn signal_name(number: i32) -> String {
    match usize::try_from(number).ok().and_then(|at| NAMES.get(at)) {
        Some(name) if !name.is_empty() => format!("SIG{name}"),
        _ if number == RTMIN => "SIGRTMIN".to_owned(),
        _ if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_found_by_its_name() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            let name = signal_name(number);
            assert_eq!(signal_number(&name), Some(number), "{name}");
            assert_eq!(signal_number(&name.to_lowercase().replace("sig", "")), Some(number), "{name}");
            assert_eq!(signal_number(&number.to_string()), Some(number));
        }
    }

    #[test]
    fn the_libc_agrees() {
        for (name, number) in [
            ("TERM", libc::SIGTERM),
            ("CHLD", libc::SIGCHLD),
            ("WINCH", libc::SIGWINCH),
            ("SYS", libc::SIGSYS),
            ("STKFLT", libc::SIGSTKFLT),
            ("URG", libc::SIGURG),
            ("IO", libc::SIGIO),
        ] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
    }

    #[test]
    fn what_is_no_signal_is_none() {
        for text in ["", "SIG", "0", "65", "-1", "TERMM", "RTMIN+31", "RTMIN-1", "RTMAX+1", "+15", "RTMIN+x"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
