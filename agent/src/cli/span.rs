//! A length of time as it is typed: `90`, `90s`, `1500ms`, `10m`, `2h`, `1d`.

use std::time::Duration;

/// Reads one; a number alone is seconds.
///
/// # Errors
/// What is wrong with it, in words.
pub fn span(typed: &str) -> Result<Duration, String> {
    let digits = typed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = typed.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a number with ms, s, m, h or d behind it".into()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number with ms, s, m, h or d behind it")?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "it is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seconds_unless_it_says_otherwise() {
        let table = [("90", 90_000), ("90s", 90_000), ("1500ms", 1500), ("10m", 600_000), ("2h", 7_200_000)];
        for (typed, millis) in table {
            assert_eq!(span(typed), Ok(Duration::from_millis(millis)), "{typed}");
        }
        for bad in ["", "s", "-1", "1.5", "1 s", "1w", "99999999999999999999", "99999999999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
