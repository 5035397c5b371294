//! Signals as people and images name them.

/// Reads a signal: `SIGQUIT`, `QUIT`, `SIGRTMIN+3` or a number of Linux
/// (signal(7), x86-64 and arm64; `SIGRTMIN` is that of the C libraries).
#[must_use]
pub fn parse(text: &str) -> Option<u8> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const RTMIN: u8 = 34;
    const RTMAX: u8 = 64;
    // (The library's numbers may have a sign.)
    let digits = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| plain)
    };
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = if name == "RTMIN" {
        RTMIN
    } else if name == "RTMAX" {
        RTMAX
    } else if let Some(above) = name.strip_prefix("RTMIN+") {
        RTMIN.checked_add(digits(above)?)?
    } else if let Some(below) = name.strip_prefix("RTMAX-") {
        RTMAX.checked_sub(digits(below)?).filter(|number| *number >= RTMIN)?
    } else if let Some(index) = NAMES.iter().position(|known| *known == name) {
        u8::try_from(index + 1).ok()?
    } else {
        digits(name)?
    };
    (1..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        let known = [
            ("SIGTERM", 15),
            ("quit", 3),
            ("SIGWINCH", 28),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("SIGRTMAX-1", 63),
            (" 9 ", 9),
        ];
        for (text, number) in known {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in
            ["", "0", "65", "SIGNOPE", "SIGRTMIN+31", "SIGRTMAX-31", "-1", "SIG+3", "RTMIN++1"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
