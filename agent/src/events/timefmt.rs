//! events: `--timefmt`: strftime(3) in the C locale.

use jiff::Zoned;
use jiff::fmt::strtime::{BrokenDownTime, Config};

/// The time, as the format says. What is not known is left as it stands, as by the C library.
pub(crate) fn format(format: &[u8], now: &Zoned) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in spelt_out(format).utf8_chunks() {
        let mut text = String::new();
        let time = BrokenDownTime::from(now);
        // Lenient formatting has no directive that fails with everything about the time known.
        match time.format_with_config(&Config::new().lenient(true), chunk.valid(), &mut text) {
            Ok(()) => out.extend(text.as_bytes()),
            Err(_) => out.extend(chunk.valid().as_bytes()),
        }
        out.extend(chunk.invalid());
    }
    out
}

/// What strftime(3) knows and the crate reads the same.
const ALIKE: &[u8] = b"aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWyYzZ%";

/// The format with everything put in simpler words that depends on a locale, and everything escaped that only the crate
/// would read. `E` and `O` ask for another calendar or other digits, and the C locale has none.
fn spelt_out(format: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = format;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            out.push(first);
            continue;
        }
        let flags =
            rest.iter().take_while(|byte| matches!(byte, b'-' | b'_' | b'^' | b'#' | b'0'..=b'9')).count();
        let (flags, mut after) = rest.split_at(flags);
        if matches!(after.first(), Some(b'E' | b'O')) {
            after = &after[1..];
        }
        let words: &[u8] = match after.first() {
            Some(b'c') => b"%a %b %e %H:%M:%S %Y",
            Some(b'x') => b"%m/%d/%y",
            Some(b'X') => b"%H:%M:%S",
            Some(b'r') => b"%I:%M:%S %p",
            Some(letter) if ALIKE.contains(letter) => {
                out.push(b'%');
                // `#` turns the case round: capitals for names, small letters for what is in capitals.
                let turned = flags.contains(&b'#');
                let names = matches!(letter, b'a' | b'A' | b'b' | b'B' | b'h');
                out.extend(flags.iter().filter(|&&flag| flag != b'#'));
                out.extend((turned && names).then_some(b'^'));
                out.push(if turned && *letter == b'p' { b'P' } else { *letter });
                rest = &after[1..];
                continue;
            }
            // Not a directive: the sign stands for itself, and what follows does too.
            _ => {
                out.extend(b"%%");
                continue;
            }
        };
        out.extend(words);
        rest = &after[1..];
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn directives_mean_what_they_mean_to_the_c_library() {
        let time = Timestamp::from_second(1_772_683_629).expect("a time").to_zoned(TimeZone::UTC);
        // From strftime(3) of glibc 2.36 for this time, TZ=UTC.
        for (format, want) in RECORDED {
            let got = super::format(format.as_bytes(), &time);
            assert_eq!(String::from_utf8_lossy(&got), *want, "{format:?}");
        }
        assert_eq!(super::format(b"\xff%Y\xfe", &time), b"\xff2026\xfe");
    }

    const RECORDED: &[(&str, &str)] = &[
        ("%a", "Thu"),
        ("%A", "Thursday"),
        ("%b", "Mar"),
        ("%B", "March"),
        ("%c", "Thu Mar  5 04:07:09 2026"),
        ("%C", "20"),
        ("%d", "05"),
        ("%D", "03/05/26"),
        ("%e", " 5"),
        ("%F", "2026-03-05"),
        ("%g", "26"),
        ("%G", "2026"),
        ("%h", "Mar"),
        ("%H", "04"),
        ("%I", "04"),
        ("%j", "064"),
        ("%k", " 4"),
        ("%l", " 4"),
        ("%m", "03"),
        ("%M", "07"),
        ("%n", "\n"),
        ("%p", "AM"),
        ("%P", "am"),
        ("%r", "04:07:09 AM"),
        ("%R", "04:07"),
        ("%s", "1772683629"),
        ("%S", "09"),
        ("%t", "\t"),
        ("%T", "04:07:09"),
        ("%u", "4"),
        ("%U", "09"),
        ("%V", "10"),
        ("%w", "4"),
        ("%W", "09"),
        ("%x", "03/05/26"),
        ("%X", "04:07:09"),
        ("%y", "26"),
        ("%Y", "2026"),
        ("%z", "+0000"),
        ("%Z", "UTC"),
        ("%%", "%"),
        ("%+", "%+"),
        ("%Ey", "26"),
        ("%Ec", "Thu Mar  5 04:07:09 2026"),
        ("%OH", "04"),
        ("%Od", "05"),
        ("%Q", "%Q"),
        ("%N", "%N"),
        ("%L", "%L"),
        ("%i", "%i"),
        ("%-d", "5"),
        ("%_d", " 5"),
        ("%0e", "05"),
        ("%^a", "THU"),
        ("%10Y", "0000002026"),
        ("%-H", "4"),
        ("%#a", "THU"),
        ("%#p", "am"),
        ("%:z", "%:z"),
        ("%f", "%f"),
        ("%q", "%q"),
        ("%Y-%m-%d %H:%M:%S", "2026-03-05 04:07:09"),
        ("%F %T", "2026-03-05 04:07:09"),
        ("%d/%m/%y %H:%M", "05/03/26 04:07"),
        ("%", "%"),
        ("x%", "x%"),
        ("", ""),
        ("no directive", "no directive"),
        ("%E", "%E"),
    ];
}
